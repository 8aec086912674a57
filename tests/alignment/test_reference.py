"""Boundary differences: a label file worked by hand, and the edit path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr_distill.alignment.reference import alignment_segments, compare_boundaries, matches, read_mlf
from asr_distill.base import UserError
from asr_distill.senones import FrameAlignment

# "EE" said twice in a row, its second one without a state 4; silence restarts its states within one phone.
LABELS = """#!MLF!#
"An4/71/71/one.lab"
0 100000 sil[2] -0.7 sil 454.7 </s>
100000 300000 sil[3] 465.5
300000 400000 sil[2] -28.6
400000 500000 iy_s2_1 -34.2 f-iy+b 16.5 E
500000 600000 iy_s3_1 -34.2
600000 700000 iy_s4_1 -34.2
700000 900000 iy_s2_1 -34.2 iy-iy+b 16.5 E
900000 1000000 iy_s3_1 -34.2
.
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.mlf"
    path.write_text(text, encoding="utf-8")
    return path


def test_label_file(tmp_path: Path) -> None:
    labels = read_mlf(write(tmp_path, LABELS), offset=0.0)
    assert list(labels) == ["one"]
    names = [name for name, _, _ in labels["one"]]
    assert names[-2:] == ["iy", "iy"]
    assert set(names[:-2]) == {"sil"}
    assert [round(start, 4) for name, start, _ in labels["one"] if name == "iy"] == [0.04, 0.07]
    late = read_mlf(write(tmp_path, LABELS))
    assert late["one"][-1][1] == pytest.approx(0.0775)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 100 a\n", "line 1: expected #!MLF!#"),
        ("#!MLF!#\n0 100 a\n", "line 2"),
        ('#!MLF!#\n"x.lab"\n0 a b\n', "line 3"),
        ('#!MLF!#\n"x.lab"\n0 10 b\n.\n"y/x.lab"\n', "line 5: labels of 'x' come twice"),
        ("#!MLF!#\n", "no label files"),
    ],
)
def test_broken_label_files(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_mlf(write(tmp_path, text))


def test_edit_path() -> None:
    assert matches("abc", "abc") == [(0, 0), (1, 1), (2, 2)]
    assert matches("abxc", "abc") == [(0, 0), (1, 1), (3, 2)]
    assert matches("abc", "adc") == [(0, 0), (2, 2)]
    assert matches("", "abc") == []


def test_differences_by_hand() -> None:
    ours = {"u": [("sil", 0.0, 0.1), ("a", 0.1, 0.2), ("b", 0.2, 0.4)], "v": [("a", 0.0, 0.1)]}
    # No silence before a; an inserted x; theirs starts b 30 ms later.
    theirs = {"u": [("a", 0.05, 0.18), ("x", 0.18, 0.23), ("b", 0.23, 0.35), ("sil", 0.35, 0.4)]}
    comparison = compare_boundaries(ours, theirs)
    assert np.round(comparison.differences, 6).tolist() == [0.05, -0.03]
    assert comparison.missing == ("v",)
    assert (comparison.matched, comparison.phones, comparison.reference_phones) == (2, 2, 3)
    assert comparison.same_sequence == 0
    # Frames 5..39; same: a 10..17 (8), b 23..34 (12). Both speech: 10..34.
    assert (comparison.agreeing_frames, comparison.frames) == (20, 35)
    assert (comparison.agreeing_speech_frames, comparison.speech_frames) == (20, 25)
    figures = comparison.to_dict()
    assert figures["median_ms"] == 40.0
    assert figures["share_within_50_ms"] == 1.0
    assert figures["share_within_20_ms"] == 0.0
    assert figures["signed_mean_ms"] == 10.0


def test_nothing_in_common() -> None:
    with pytest.raises(UserError, match="no phone of our alignment was matched"):
        compare_boundaries({"u": [("a", 0.0, 0.1)]}, {"v": [("a", 0.0, 0.1)]}).to_dict()


def test_segments_of_an_alignment() -> None:
    alignment = FrameAlignment(np.array([1, 3]), np.array([0, 0, 1]), np.zeros(3))
    names = ["SIL", "AH_B", "AH_E"]
    assert alignment_segments(alignment, names, position_dependent=True) == [("sil", 0.0, 0.02), ("ah", 0.02, 0.03)]
    assert alignment_segments(alignment, names) == [("sil", 0.0, 0.02), ("ah_e", 0.02, 0.03)]
