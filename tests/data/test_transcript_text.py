"""Transcripts in the form of the lexicon: by hand, and that nothing changes unasked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.data.corpora import Utterance
from asr_distill.data.transcript_text import TextOptions, hint


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        (TextOptions("upper"), "don't go", "DON'T GO"),
        (
            TextOptions("lower", True),
            "\u201cYes,\u201d she said -- mother-in-law\u2019s (house)!",
            "yes she said mother-in-law\u2019s house",
        ),
        (TextOptions(strip_punctuation=True), "'Tis  the dogs' ... 5%", "'Tis the dogs' 5"),
        (TextOptions("upper"), "stra\u00dfe \u00e9t\u00e9", "STRASSE \u00c9T\u00c9"),
        (TextOptions(), "as  it Is.", "as  it Is."),
    ],
)
def test_by_hand(options: TextOptions, text: str, expected: str) -> None:
    assert options.of(text) == expected


@given(st.text(st.characters(blacklist_categories=["Cs"])), st.sampled_from(["as-is", "upper", "lower"]), st.booleans())
def test_again_changes_nothing_more(text: str, case: str, strip: bool) -> None:
    options = TextOptions(case, strip)  # type: ignore[arg-type]
    once = options.of(text)
    assert options.of(once) == once or case != "as-is"  # a few letters have no single form of the other case
    assert TextOptions().of(text) == text


def test_what_was_written_stays_known() -> None:
    rows = [Utterance("a", Path("a.wav"), "ann", "Yes."), Utterance("b", Path("b.wav"), "ann", "YES")]
    changed = TextOptions("upper", True).applied(rows)
    assert [(row.text, dict(row.custom)) for row in changed] == [("YES", {"written": "Yes."}), ("YES", {})]
    assert TextOptions().applied(rows) == rows


def test_a_hint_names_the_options_that_find_most() -> None:
    known = {"YES", "NO"}
    assert hint(["yes,", "No.", "q"], known) == "2 of them are there with --case upper --strip-punctuation of the preparation"
    assert hint(["yes", "no"], known) == "2 of them are there with --case upper of the preparation"
    assert hint(["q"], known) == ""
