"""Utterances to a manifests folder: what is refused, that nothing half-written stays, and whole-speaker splits."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, MonoCut

from asr_distill.base import UserError, read_json
from asr_distill.data.corpora import AudioOptions, Utterance, _bound_problems, check_counts, write_manifests
from asr_distill.data.speaker_choice import choose_speakers, evenly_spaced

RATE = 16000


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, list[Utterance]]:
    """Three parts of two utterances each, one second long."""
    made: dict[str, list[Utterance]] = {}
    for index, part in enumerate(("train", "dev", "test")):
        made[part] = []
        for number in range(2):
            path = tmp_path / "wav" / f"{part}{number}.wav"
            path.parent.mkdir(exist_ok=True)
            samples = np.random.default_rng([index, number]).integers(-3000, 3000, RATE).astype(np.int16)
            soundfile.write(path, samples, RATE)
            made[part].append(Utterance(f"{part}{number}", path, f"speaker-{part}", "ONE TWO"))
    return made


def change(parts: dict[str, list[Utterance]], **values: object) -> None:
    from dataclasses import replace

    parts["train"][1] = replace(parts["train"][1], **values)


def load(path: Path, name: str) -> MonoCut:
    return CutSet.from_file(path).to_eager()[name]


def assert_nothing_written(tmp_path: Path) -> None:
    assert [path.name for path in tmp_path.iterdir()] == ["wav"]


def test_whole_manifests(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    output = tmp_path / "manifests"
    write_manifests(output, parts, {"name": "x", "source": "real"}, texts={"lexicon.txt": "ONE W AH N\n"})
    corpus = read_json(output / "corpus.json")
    assert corpus["counts"]["train"] == {"utterances": 2, "speakers": 1, "words": 4, "hours": 0.0006}
    assert corpus["words_not_in_lexicon"] == {"TWO": 6}
    cut = load(output / "cuts_dev.jsonl.gz", "dev1")
    np.testing.assert_array_equal(cut.load_audio()[0], soundfile.read(parts["dev"][1].audio, dtype="float32")[0])
    assert (cut.supervisions[0].text, cut.supervisions[0].speaker) == ("ONE TWO", "speaker-dev")
    write_manifests(output, parts, {"name": "again", "source": "real"})  # replaces its own work
    assert read_json(output / "corpus.json")["name"] == "again"
    assert not (output / "lexicon.txt").exists()


def test_another_folder_is_not_replaced(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(UserError, match="holds files that asr-distill did not write"):
        write_manifests(tmp_path / "thesis", parts, {})
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_duplicate_ids_are_refused(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    change(parts, id="dev0")
    with pytest.raises(UserError, match="more than once: dev0"):
        write_manifests(tmp_path / "manifests", parts, {})
    assert_nothing_written(tmp_path)


def test_a_speaker_in_two_parts_is_refused(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    change(parts, speaker="speaker-test")
    with pytest.raises(UserError, match="in both train and test: speaker-test"):
        write_manifests(tmp_path / "manifests", parts, {})
    assert_nothing_written(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": "  "}, "train1: .*transcript is empty"),
        ({"audio": Path("nowhere.wav")}, r"train1: nowhere\.wav: no such audio file"),
        ({"start": 0.5, "duration": 0.6}, "from 0.500 s to 1.100 s, the recording from 0 to 1.000 s"),
        ({"start": 0.5, "duration": 0.0}, "from 0.500 s to 0.500 s"),
        ({"start": -0.1}, "from -0.100 s"),
    ],
)
def test_unusable_utterances(
    tmp_path: Path, parts: dict[str, list[Utterance]], values: dict[str, object], message: str
) -> None:
    change(parts, **values)
    with pytest.raises(UserError, match=message):
        write_manifests(tmp_path / "manifests", parts, {})
    with pytest.raises(UserError, match="1 of 6"):
        write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(allow_bad=0.1))
    assert_nothing_written(tmp_path)
    corpus = write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(allow_bad=0.2))
    assert corpus["counts"]["train"]["utterances"] == 1
    assert len(corpus["left_out"]) == 1
    assert corpus["left_out"][0].startswith("train1: ")


def test_segments_share_a_recording_and_keep_their_samples(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    change(parts, audio=parts["train"][0].audio, recording_id="r", start=0.25, duration=0.755)  # 5 ms past the end: cut off
    write_manifests(tmp_path / "manifests", parts, {})
    cut = load(tmp_path / "manifests" / "cuts_train.jsonl.gz", "train1")
    whole, _ = soundfile.read(parts["train"][0].audio, dtype="float32")
    np.testing.assert_array_equal(cut.load_audio()[0], whole[RATE // 4 :])


def test_another_rate_is_resampled_and_said(
    tmp_path: Path, parts: dict[str, list[Utterance]], caplog: pytest.LogCaptureFixture
) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050).astype(np.float32) / 2
    soundfile.write(parts["train"][1].audio, tone, 22050)
    with caplog.at_level("INFO", "asr_distill"):
        corpus = write_manifests(tmp_path / "manifests", parts, {})
    assert "1 recordings at 22050 Hz were resampled to 16000 Hz" in caplog.text
    assert corpus["resampled_recordings"] == {"22050": 1}
    cut = load(tmp_path / "manifests" / "cuts_train.jsonl.gz", "train1")
    audio = cut.load_audio()[0]
    assert (cut.sampling_rate, len(audio)) == (RATE, RATE)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) / 2
    assert np.abs(audio - expected)[1000:-1000].max() < 0.01


@pytest.mark.parametrize("rate", [RATE, 8000])
def test_two_channels_need_a_choice(tmp_path: Path, parts: dict[str, list[Utterance]], rate: int) -> None:
    left, right = np.full(rate, 0.25), np.full(rate, -0.5)
    soundfile.write(parts["train"][1].audio, np.stack([left, right], axis=1), rate)
    with pytest.raises(UserError, match="2 channels, expected 1; choose one with --channel 0 to 1"):
        write_manifests(tmp_path / "manifests", parts, {})
    with pytest.raises(UserError, match="--channel 2 does not exist"):
        write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(channel=2))
    assert_nothing_written(tmp_path)
    write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(channel=1))
    audio = load(tmp_path / "manifests" / "cuts_train.jsonl.gz", "train1").load_audio()
    assert audio.shape == (1, RATE)
    assert abs(audio[0, RATE // 2] + 0.5) < 1e-3


def test_recordings_may_keep_their_rates(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    soundfile.write(parts["train"][1].audio, np.full(8000, 0.25), 8000)
    corpus = write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(sampling_rate=None))
    assert (corpus["sampling_rate"], corpus["resampled_recordings"]) == (None, {})
    assert corpus["recordings_by_rate"] == {"8000": 1, "16000": 5}
    cut = load(tmp_path / "manifests" / "cuts_train.jsonl.gz", "train1")
    assert (cut.sampling_rate, cut.load_audio().shape) == (8000, (1, 8000))
    assert not (tmp_path / "manifests" / "audio").exists()


def test_ids_of_any_kind_get_files_of_their_own(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    names = ["a/b", "a_b", "a%2Fb", "..", "ä" * 90, "ä" * 90 + "b"]
    rows = []
    for number, name in enumerate(names):
        soundfile.write(tmp_path / "wav" / f"{number}.wav", np.full(800, number / 10), 8000)
        rows.append(Utterance(name, tmp_path / "wav" / f"{number}.wav", "s", "ONE"))
    write_manifests(tmp_path / "manifests", {"train": rows}, {})
    assert len(list((tmp_path / "manifests" / "audio").glob("*.wav"))) == len(names)
    for number, name in enumerate(names):
        audio = load(tmp_path / "manifests" / "cuts_train.jsonl.gz", name).load_audio()
        assert audio[0, 800] == pytest.approx(number / 10, abs=0.01)


def test_ends_behind_the_recording_are_cut_off_where_that_is_asked_for(
    tmp_path: Path, parts: dict[str, list[Utterance]]
) -> None:
    change(parts, start=0.5, duration=0.8)
    with pytest.raises(UserError, match=r"the recording from 0 to 1\.000 s\. Next: --clip-segments 0\.5"):
        write_manifests(tmp_path / "manifests", parts, {})
    write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(clip=0.5))
    cuts = {cut.id: cut for cut in CutSet.from_file(tmp_path / "manifests" / "cuts_train.jsonl.gz")}
    assert (cuts["train1"].start, cuts["train1"].duration) == (0.5, 0.5)
    for values in ({"start": 0.5, "duration": 1.2}, {"start": 1.0, "duration": 0.2}):  # too much, and nothing left
        change(parts, **values)
        with pytest.raises(UserError, match="the recording from 0 to 1"):
            write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(clip=0.5))


def test_recordings_with_several_channels_ask_for_a_channel(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    for part in ("train", "test"):
        for row in parts[part]:
            soundfile.write(row.audio, np.zeros((16000, 2)), 16000)
    with pytest.raises(UserError, match=r"Next: --channel 0 \(or another\) for recordings with several channels$"):
        write_manifests(tmp_path / "manifests", parts, {})
    parts["train"][0] = dataclasses.replace(parts["train"][0], text="")
    with pytest.raises(UserError, match=r"several channels; for the others, mend them, or leave .* --allow-bad 0\.167"):
        write_manifests(tmp_path / "manifests", parts, {})


def test_a_check_and_a_file_of_the_callers(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    def check(cut: MonoCut) -> None:
        if cut.id == "test1":
            raise UserError(f"{cut.duration:.1f} s are not enough")

    (tmp_path / "wav" / "lm").write_bytes(b"\\data\\")
    with pytest.raises(UserError, match=r"test1: 1\.0 s are not enough"):
        write_manifests(tmp_path / "manifests", parts, {}, check=check)
    options = AudioOptions(allow_bad=0.2)
    write_manifests(tmp_path / "manifests", parts, {}, options=options, check=check, texts={"lm.arpa": tmp_path / "wav" / "lm"})
    assert (tmp_path / "manifests" / "lm.arpa").read_bytes() == b"\\data\\"
    assert len(CutSet.from_file(tmp_path / "manifests" / "cuts_test.jsonl.gz").to_eager()) == 1


def test_counts_name_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"AN4 is not complete: words 772 instead of 773.*--allow-partial"):
        check_counts("AN4", {"words": 773, "speakers": 10}, {"words": 772, "speakers": 10}, allow_partial=False)
    check_counts("AN4", {"words": 773}, {"words": 772}, allow_partial=True)
    assert "772 instead of 773" in caplog.text


def test_evenly_spaced_by_hand() -> None:
    assert evenly_spaced(list("fedcba"), 2) == ["b", "e"]
    assert evenly_spaced(list("abcde"), 0) == []
    assert evenly_spaced(list("abcde"), 5) == list("abcde")


@given(
    groups=st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.sampled_from("xyz"), min_size=4, max_size=60),
    data=st.data(),
)
def test_choice_is_a_balanced_partition(groups: dict[str, str], data: st.DataObject) -> None:
    sizes = {"dev": data.draw(st.integers(1, len(groups) // 4)), "test": data.draw(st.integers(1, len(groups) // 3))}
    parts = choose_speakers(groups, sizes, rest="train")
    assert sorted(speaker for chosen in parts.values() for speaker in chosen) == sorted(groups)
    assert {part: len(parts[part]) for part in sizes} == sizes
    assert parts == choose_speakers(dict(reversed(groups.items())), sizes, rest="train")
    first = min(sizes, key=lambda part: (sizes[part], part))
    for group in set(groups.values()):
        share = sizes[first] * sum(value == group for value in groups.values()) / len(groups)
        assert abs(sum(groups[speaker] == group for speaker in parts[first]) - share) < 1


def test_too_few_speakers() -> None:
    with pytest.raises(UserError, match="4 speakers are too few to set aside 2 for dev, 2 for test"):
        choose_speakers(dict.fromkeys("abcd", "x"), {"dev": 2, "test": 2}, rest="train")


@given(st.integers(1, 3000), st.data())
def test_the_share_that_is_suggested_is_enough(total: int, data: st.DataObject) -> None:
    problems = [f"u{number}: broken" for number in range(data.draw(st.integers(1, total)))]
    with pytest.raises(UserError) as refusal:
        _bound_problems(problems, total, 0.0)
    suggested = re.search(r"--allow-bad (\d\.\d+) or more", str(refusal.value))
    assert suggested
    _bound_problems(problems, total, float(suggested[1]))


def test_the_share_that_is_suggested_covers_all_parts(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    for part in ("train", "test"):
        parts[part][1] = dataclasses.replace(parts[part][1], text="")
    with pytest.raises(UserError, match=r"(?s)2 of 6 .*train1: .*test1: .*--allow-bad 0\.334 or more"):
        write_manifests(tmp_path / "manifests", parts, {})
    assert_nothing_written(tmp_path)
    corpus = write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(allow_bad=0.334))
    assert len(corpus["left_out"]) == 2


def test_a_part_without_a_usable_utterance_is_refused(tmp_path: Path, parts: dict[str, list[Utterance]]) -> None:
    parts["test"] = [dataclasses.replace(row, text="") for row in parts["test"]]
    with pytest.raises(UserError, match="the test part has no utterance that can be used"):
        write_manifests(tmp_path / "manifests", parts, {}, options=AudioOptions(allow_bad=1.0))
    assert_nothing_written(tmp_path)
