"""Whatever utterances are published come back with the same figures."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.report import read_per_utterance, write_per_utterance
from asr_distill.report.figures import system_figures
from asr_distill.scoring import Utterance

WORDS = st.lists(st.sampled_from(["go", "stop", "é", "字", '"', "{"]), max_size=6).map(tuple)


@st.composite
def utterances(draw: st.DrawFn) -> list[Utterance]:
    """A test set of some utterances; hypotheses may be missing, references empty, labels unknown."""
    made = []
    for number in range(draw(st.integers(1, 6))):
        frames = draw(st.integers(0, 50))
        speech = draw(st.integers(0, frames))
        correct_speech = draw(st.integers(0, speech))
        known = draw(st.booleans())
        made.append(
            Utterance(
                f"u{number}",
                draw(WORDS),
                draw(st.none() | WORDS),
                speaker=draw(st.sampled_from(["ann", "bob"])),
                split="test",
                frames=frames,
                correct_frames=correct_speech + draw(st.integers(0, frames - speech)) if known else None,
                frames_speech=speech if known else None,
                correct_frames_speech=correct_speech if known else None,
                phones=draw(st.integers(0, 9)),
                phone_errors=draw(st.integers(0, 9)),
            )
        )
    return made


@settings(max_examples=30, deadline=None)
@given(utterances())
def test_what_is_written_is_read(made: list[Utterance]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "per_utterance.jsonl"
        write_per_utterance(path, {"a": {3: made}})
        (systems,) = read_per_utterance(path).items()
    assert systems == ("a", {3: made})
    before, after = (system_figures(seeds, "speaker", 20, 0, "a") for seeds in ({3: made}, systems[1]))
    assert before == after
    errors = sum(u.errors.errors for u in made)
    words = sum(len(u.reference) for u in made)
    assert before["wer"]["test"] == (pytest.approx(100 * errors / words, abs=1e-6) if words else None)


@pytest.mark.parametrize("line", ["[]", '{"id": "u"}', '{"system": "a", "seed": 0, "id": "u", "reference": "x"}'])
def test_lines_that_break_the_contract_are_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 1"):
        read_per_utterance(tmp_path / "p.jsonl")


def test_an_utterance_twice_is_refused(tmp_path: Path) -> None:
    row = '{"system": "a", "seed": 0, "id": "u", "reference": "x", "hypothesis": "x"}\n'
    (tmp_path / "p.jsonl").write_text(row * 2, encoding="utf-8")
    with pytest.raises(UserError, match="twice"):
        read_per_utterance(tmp_path / "p.jsonl")
