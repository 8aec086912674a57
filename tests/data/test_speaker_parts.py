"""Whole speakers for dev, by hand; recordings keep their speakers together and the parts apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr_distill.base import UserError
from asr_distill.data.corpora import Utterance
from asr_distill.data.speaker_parts import check_recordings, set_aside_dev


def row(speaker: str, number: int = 0, recording: str = "", gender: str | None = None, audio: str = "a.wav") -> Utterance:
    name = f"{speaker}-{number}"
    return Utterance(name, Path(audio), speaker, "A", recording_id=recording or name, gender=gender)


def dev_of(rows: list[Utterance], dev_speakers: int | None = None) -> list[str]:
    train, dev, rule = set_aside_dev(rows, dev_speakers)
    assert sorted(r.id for r in [*train, *dev]) == sorted(r.id for r in rows)
    assert not {r.speaker for r in train} & {r.speaker for r in dev}
    assert rule["dev_speakers"] == sorted({r.speaker for r in dev})
    return rule["dev_speakers"]


def test_a_tenth_evenly_spaced_and_balanced() -> None:
    names = [f"s{n:02d}" for n in range(20)]
    rows = [row(name, n) for name in names for n in range(2)]
    assert dev_of(rows) == dev_of(rows[::-1]) == ["s05", "s15"]  # positions floor((i + 1/2) * 20 / 2)
    assert dev_of([row(name, gender="FM"[n < 10]) for n, name in enumerate(names)]) == ["s05", "s15"]  # one of each
    assert dev_of([row(name, gender="FM"[n < 4]) for n, name in enumerate(names)], 5) == ["s02", "s06", "s10", "s14", "s18"]
    assert dev_of(rows[:10]) == ["s02"]


def test_speakers_of_one_recording_stay_together() -> None:
    calls = [row(f"{side}{call}", recording=f"call{call}") for call in range(5) for side in "ab"]
    assert dev_of(calls) == ["a2", "b2"]
    chain = [*calls, row("b0", 1, "call9"), row("a1", 1, "call9")]  # links the calls 0 and 1: four calls are left
    with pytest.raises(
        UserError, match=r"has 4 speakers .*give dev data of its own \(--dev\), --dev-speakers 1, or --allow-shared-speakers"
    ):
        set_aside_dev(chain)
    assert len(dev_of(chain, 1)) in (2, 4)


def test_too_few_or_too_unequal() -> None:
    with pytest.raises(UserError, match="the training part has 4 speakers"):
        set_aside_dev([row(name) for name in "abcd"])
    assert dev_of([row(name) for name in "abcd"], 2) == ["b", "d"]
    with pytest.raises(UserError, match="4 speakers are too few to set aside 4 for dev"):
        set_aside_dev([row(name) for name in "abcd"], 4)
    with pytest.raises(UserError, match="--dev-speakers 0: expected 1 or more"):
        set_aside_dev([row(name) for name in "abcd"], 0)
    unequal = [row(name, n) for name in "abcde" for n in range(9 if name == "c" else 1)]
    with pytest.raises(UserError, match="1 of 5 speakers aside for dev takes 9 of 13 utterances, more than a third"):
        set_aside_dev(unequal)
    assert dev_of(unequal, 1) == ["c"]


def test_a_recording_is_in_one_part_only() -> None:
    check_recordings({"train": [row("a", 0, "r"), row("b", 0, "r")], "test": [row("c", 0, "q")]})
    with pytest.raises(UserError, match=r"the recording r \(a.wav\) is in both train and test"):
        check_recordings({"train": [row("a", 0, "r")], "test": [row("c", 0, "r")]})
    with pytest.raises(UserError, match=r"recording id r is in both train \(a.wav\) and test \(b.wav\); ids must be unique"):
        check_recordings({"train": [row("a", 0, "r")], "test": [row("c", 0, "r", audio="b.wav")]})


def test_recordings_of_a_single_speaker_are_set_aside_where_that_is_allowed() -> None:
    rows = [row("global", n) for n in range(31)]
    train, dev, rule = set_aside_dev(rows, allow_shared_speakers=True)
    assert len(dev) == 5  # a tenth would be 3 utterances, too few to choose a scale
    assert sorted(r.id for r in [*train, *dev]) == sorted(r.id for r in rows)
    assert set_aside_dev(rows[::-1], allow_shared_speakers=True)[1] == dev[::-1]
    assert "their speakers are in both" in rule["rule"]
    segments = [Utterance(f"u{n}", Path("a.wav"), "global", "A", recording_id=f"r{n // 4}") for n in range(40)]
    train, dev, _ = set_aside_dev(segments, allow_shared_speakers=True)
    assert not {r.recording_id for r in train} & {r.recording_id for r in dev}
    with pytest.raises(UserError, match="has 2 recordings, too few"):
        set_aside_dev(segments[:8], allow_shared_speakers=True)
    many = [row(name) for name in "abcdef"]  # enough speakers: whole ones, as ever
    assert set_aside_dev(many, allow_shared_speakers=True) == set_aside_dev(many)
