"""Frame alignments: a small one by hand, round trips of random ones, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError, write_jsonl
from asr_distill.senones import FrameAlignment, context_windows, default_topology, read_alignments, write_alignments


def small() -> FrameAlignment:
    return FrameAlignment(
        np.array([1, 3, 2]), np.array([0, 0, 1, 1, 1, 2]), np.array([0, 4, 0, 1, 2, 0]), (("oh", 1, 3),), log_likelihood=-7.5
    )


@st.composite
def alignments(draw: st.DrawFn) -> FrameAlignment:
    frames = draw(st.lists(st.integers(1, 6), max_size=8))
    phones = [draw(st.integers(1, 9)) for _ in frames]
    states = [draw(st.integers(0, 4)) for _ in range(sum(frames))]
    cuts = sorted(draw(st.lists(st.integers(0, len(frames)), min_size=2, max_size=2)))
    words = (("wörd", cuts[0], cuts[1]),) if draw(st.booleans()) else ()
    score = draw(st.none() | st.floats(allow_nan=False, allow_infinity=False))
    return FrameAlignment(np.array(phones), np.repeat(np.arange(len(frames)), frames), np.array(states), words, score)


def test_segments_by_hand() -> None:
    alignment = small()
    assert alignment.phone_segments() == [(1, 0, 2), (3, 2, 5), (2, 5, 6)]
    assert alignment.word_segments(0.01) == [("oh", pytest.approx(0.02), pytest.approx(0.04))]
    assert alignment.frame_phones.tolist() == [1, 1, 3, 3, 3, 2]
    assert alignment.to_dict() == {
        "phones": [1, 3, 2],
        "phone_frames": [2, 3, 1],
        "state_runs": [0, 1, 4, 1, 0, 1, 1, 1, 2, 1, 0, 1],
        "words": [["oh", 1, 3]],
        "log_likelihood": -7.5,
    }


def test_two_phones_alike_in_a_row_stay_two() -> None:
    alignment = FrameAlignment(np.array([2, 2]), np.array([0, 1, 1]), np.array([0, 0, 1]))
    assert FrameAlignment.from_dict(alignment.to_dict()).phone_segments() == [(2, 0, 1), (2, 1, 3)]


@settings(max_examples=60)
@given(alignments())
def test_json_round_trip(alignment: FrameAlignment) -> None:
    again = FrameAlignment.from_dict(json.loads(json.dumps(alignment.to_dict())))
    assert again == alignment
    for name, dtype in (("phones", np.int32), ("phone_index", np.int32), ("hmm_states", np.int16)):
        assert getattr(again, name).dtype == dtype
        np.testing.assert_array_equal(getattr(again, name), getattr(alignment, name))
    assert sum(end - start for _, start, end in again.phone_segments()) == len(alignment)


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "alignments.jsonl.gz"
    empty = FrameAlignment(np.zeros(0), np.zeros(0), np.zeros(0))
    write_alignments(path, {"b": small(), "a": empty})
    read = read_alignments(path)
    assert list(read) == ["b", "a"]
    assert read["b"] == small()
    assert len(read["a"]) == 0


@pytest.mark.parametrize(
    ("phones", "index", "states", "words", "complaint"),
    [
        ([1], [0, 0], [0], (), "2 frames of phones but 1"),
        ([1, 2], [0], [0], (), "at least one frame"),
        ([1, 2], [0, 0], [0, 0], (), "rise from 0 to 1"),
        ([1, 2, 3], [0, 2, 2], [0, 0, 0], (), "steps of 0 or 1"),
        ([0], [0], [0], (), "start at 1"),
        ([1], [0], [0], (("w", 0, 2),), "'w' spans"),
        ([1, 2], [0, 1], [0, 0], (("v", 0, 2), ("w", 1, 2)), "'w' spans"),
    ],
)
def test_contradictions_are_refused(phones: list, index: list, states: list, words: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        FrameAlignment(np.array(phones), np.array(index), np.array(states), words)


def test_broken_files_name_line_and_id(tmp_path: Path) -> None:
    path, row = tmp_path / "a.jsonl", {"id": "u", **small().to_dict()}
    write_jsonl(path, [row, row])
    with pytest.raises(UserError, match="line 2: a second alignment of 'u'"):
        read_alignments(path)
    write_jsonl(path, [{**row, "phone_frames": [2, 3, 2]}])
    with pytest.raises(UserError, match="line 1: alignment of 'u' is broken"):
        read_alignments(path)
    write_jsonl(path, [["no", "object"]])
    with pytest.raises(UserError, match="with an 'id'"):
        read_alignments(path)


def test_pdf_classes_follow_the_topology() -> None:
    topology = default_topology(["SIL", "A", "B"], ["SIL"])
    assert small().pdf_classes(topology).tolist() == [0, 0, 0, 1, 2, 0]
    assert small().pdf_classes(default_topology(["SIL", "A", "B"], ["SIL"], silence_pdf_classes=5)).tolist() == [
        0,
        4,
        0,
        1,
        2,
        0,
    ]
    with pytest.raises(UserError, match="phone id 3"):
        small().pdf_classes(default_topology(["SIL", "A"], ["SIL"]))
    with pytest.raises(UserError, match="frame 1 is in state 4 of SIL"):
        small().pdf_classes(default_topology(["SIL", "A", "B"], ["SIL"], silence_states=3))
    with pytest.raises(UserError, match=r"state 4 of SIL, which has states 0\.\.2"):
        small().pdf_classes(default_topology(["SIL", "A", "B"], []))


def test_contexts_end_in_boundaries() -> None:
    assert context_windows(np.array([5, 6])).tolist() == [[0, 5, 6], [5, 6, 0]]
    assert context_windows(np.array([5])).tolist() == [[0, 5, 0]]
