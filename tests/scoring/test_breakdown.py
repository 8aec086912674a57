"""Where errors are, by hand; what is counted there adds up to the errors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asr_distill.report.errors_section import errors_section
from asr_distill.scoring import Utterance
from asr_distill.scoring.breakdown import error_breakdown

ROWS = [
    Utterance("1", ("go", "to", "rome"), ("go", "two", "rome"), "ann"),
    Utterance("2", ("go", "to"), ("go", "two"), "ann"),
    Utterance("3", ("stop",), (), "bob"),
    Utterance("4", ("stop",), ("stop", "it"), "cid"),
]


def test_by_hand() -> None:
    found = error_breakdown(ROWS, {"go", "to", "stop"})
    assert found["speakers"] == {"number": 3, "median_wer": 100.0, "best": ["ann", 40.0], "worst": ["cid", 100.0]}
    assert found["confusions"] == [["to", "two", 2]]
    assert (found["deletions"], found["insertions"]) == ([["stop", 1]], [["it", 1]])
    assert found["vocabulary"] == {
        "inside": {"words": 6, "error_rate": 50.0},
        "outside": {"words": 1, "error_rate": 0.0},
    }
    results = {"systems": [{"name": "x", "label": "student"}], "errors": {"system": "x", "seed": 0, **found}}
    (section,) = errors_section(results)
    assert section.title == "Where the errors are: student, seed 0"
    assert "median 100.00 %, from 40.00 (ann) to 100.00 (cid)" in section.paragraphs[0]
    assert "1 are outside and cannot be right" in section.paragraphs[1]
    assert section.tables[0].rows == (("to -> two (2)", "stop (1)", "it (1)"),)
    assert errors_section({"systems": []}) == []


WORDS = st.lists(st.sampled_from("abcd"), max_size=6).map(tuple)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=5))
def test_all_errors_are_counted(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    rows = [Utterance(str(number), *pair) for number, pair in enumerate(pairs)]
    found = error_breakdown(rows)
    assert found["speakers"] is None
    assert sum(item[-1] for kind in ("confusions", "deletions", "insertions") for item in found[kind]) == sum(
        row.errors.errors for row in rows
    )
