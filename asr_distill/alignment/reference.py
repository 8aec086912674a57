"""Another's alignment: HTK master label files, and how far our phone boundaries lie from theirs.

Times become those of frame centres before they are compared. Tools that snip edges centre frame i at 12.5 ms + 10 ms * i,
ours are centred at 5 ms + 10 ms * i, so a boundary that such a tool writes as frame i lies 7.5 ms later than our frame i.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError, split_words, text_lines
from asr_distill.lang import base_phone
from asr_distill.senones import FrameAlignment

HTK_UNIT = 1e-7  # seconds
SNIPPED_EDGES_OFFSET = 0.0075  # seconds that a boundary of snipped frames lies later
_STATE = re.compile(r"^(?P<phone>.+?)(?:_s(?P<state>\d+)_\d+|\[(?P<index>\d+)\])$")
_TIME = re.compile(r"[0-9]{1,18}")
PERCENTILES = (5, 25, 50, 75, 90, 95, 99)

Segment = tuple[str, float, float]


def read_mlf(path: str | Path, *, offset: float = SNIPPED_EDGES_OFFSET) -> dict[str, list[Segment]]:
    """Phones of each utterance, ``(name in lower case, start, end)`` in seconds on our time axis, by the label file's stem.

    State labels (``eh_s2_1``, ``sil[3]``) are joined into phones where the label file names a phone in a further column (as
    HTK's state alignments do), or where a state number falls; other labels are taken as phones. Raises `UserError` with the
    line that is not as it should be.
    """
    path = Path(path)
    lines = text_lines(path, "an alignment, an HTK master label file")
    if next(lines, (1, ""))[1].strip() != "#!MLF!#":
        raise UserError(f"{path}, line 1: expected #!MLF!#, the head of an HTK master label file")
    utterances: dict[str, list[Segment]] = {}
    current: list[Segment] | None = None
    last_state = 0
    for number, line in lines:
        line = line.strip(" \t")
        if line.startswith('"'):
            stem = Path(line.strip('"').replace("\\", "/")).stem
            if stem in utterances:
                raise UserError(f"{path}, line {number}: labels of {stem!r} come twice")
            current, last_state = utterances.setdefault(stem, []), 0
        elif line == ".":
            current = None
        elif line:
            fields = split_words(line, f"{path}, line {number}")
            if current is None or len(fields) < 3 or not all(map(_TIME.fullmatch, fields[:2])):
                raise UserError(f"{path}, line {number}: found {line!r}, expected START END LABEL below a label file's name")
            start, end = (int(value) * HTK_UNIT + offset for value in fields[:2])
            if end < start or (current and start < current[-1][1]):
                raise UserError(f"{path}, line {number}: found {line!r}, whose times run backwards; mend the line")
            match = _STATE.match(fields[2])
            phone = (match["phone"] if match else fields[2]).lower()
            state = int(match["state"] or match["index"]) if match else 0
            begins = len(fields) > 4 or not match or state < last_state or not current or current[-1][0] != phone
            if begins:
                current.append((phone, start, end))
            else:
                current[-1] = (phone, current[-1][1], end)
            last_state = state
    if not utterances:
        raise UserError(f"{path} holds no label files")
    return utterances


def alignment_segments(
    alignment: FrameAlignment, phones: Sequence[str], frame_shift: float = 0.01, *, position_dependent: bool = False
) -> list[Segment]:
    """Our phones as ``(base phone in lower case, start, end)`` in seconds; frame t covers t to t + 1 frame shifts.

    ``phones`` are names in id order, id 1 first; with ``position_dependent`` they lose their word-position suffix.
    """
    names = [base_phone(phone) for phone in phones] if position_dependent else phones
    return [
        (names[phone - 1].lower(), first * frame_shift, last * frame_shift) for phone, first, last in alignment.phone_segments()
    ]


@dataclass(frozen=True, eq=False)
class BoundaryComparison:
    """How far our phones lie from another's.

    missing: ids that the reference lacks. differences: ``(B,)`` seconds, ours - theirs, of the starts of matched speech phones;
    the rest are counts. same_sequence: utterances whose phones agree one by one, silence apart. agreeing_frames of frames: our
    10 ms frames in which both name the same phone; speech_frames are those where neither has silence.
    """

    missing: tuple[str, ...]
    differences: np.ndarray
    utterances: int
    same_sequence: int
    matched: int
    phones: int
    reference_phones: int
    agreeing_frames: int
    frames: int
    agreeing_speech_frames: int
    speech_frames: int

    def to_dict(self) -> dict[str, Any]:
        """Figures for a report: milliseconds, shares from 0 to 1."""
        size = np.abs(self.differences) * 1000
        if not len(size):
            raise UserError("no phone of our alignment was matched with the reference; are they of the same utterances?")
        return {
            "utterances": self.utterances,
            "not_in_reference": len(self.missing),
            "same_phone_sequence": self.same_sequence,
            "phones": self.phones,
            "reference_phones": self.reference_phones,
            "matched_phones": self.matched,
            "median_ms": round(float(np.median(size)), 2),
            "mean_ms": round(float(size.mean()), 2),
            "signed_mean_ms": round(float(self.differences.mean() * 1000), 2),
            "signed_median_ms": round(float(np.median(self.differences) * 1000), 2),
            "percentiles_ms": {str(p): round(float(np.percentile(size, p)), 2) for p in PERCENTILES},
            "share_within_10_ms": round(float((size <= 10 + 1e-6).mean()), 4),
            "share_within_20_ms": round(float((size <= 20 + 1e-6).mean()), 4),
            "share_within_50_ms": round(float((size <= 50 + 1e-6).mean()), 4),
            "frame_agreement": round(self.agreeing_frames / max(self.frames, 1), 4),
            "speech_frame_agreement": round(self.agreeing_speech_frames / max(self.speech_frames, 1), 4),
        }


def compare_boundaries(
    ours: Mapping[str, Sequence[Segment]],
    reference: Mapping[str, Sequence[Segment]],
    *,
    silence: Sequence[str] = ("sil", "spn", "sp"),
    frame_shift: float = 0.01,
) -> BoundaryComparison:
    """Compares the starts of speech phones, utterance by utterance.

    Silence is left out of both before phones are matched by edit distance (substitutions are no matches), for optional silence
    is where two alignments differ most; pronunciation variants match where they agree. Utterances that the reference lacks are
    listed. Times of both are on the same axis: see `read_mlf`, `alignment_segments`.
    """
    quiet = {name.lower() for name in silence}
    differences: list[float] = []
    missing: list[str] = []
    utterances = same = phones = reference_phones = 0
    frames = np.zeros(4, dtype=np.int64)
    for key, segments in ours.items():
        theirs = reference.get(key)
        if theirs is None:
            missing.append(key)
            continue
        utterances += 1
        spoken = [segment for segment in segments if segment[0] not in quiet]
        other = [segment for segment in theirs if segment[0] not in quiet]
        phones, reference_phones = phones + len(spoken), reference_phones + len(other)
        names, other_names = [segment[0] for segment in spoken], [segment[0] for segment in other]
        same += names == other_names
        differences += [spoken[a][1] - other[b][1] for a, b in matches(names, other_names)]
        frames += _frame_agreement(segments, theirs, quiet, frame_shift)
    return BoundaryComparison(
        tuple(missing),
        np.array(differences),
        utterances,
        same,
        len(differences),
        phones,
        reference_phones,
        *(int(value) for value in frames),
    )


def matches(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs of equal phones on one cheapest edit path."""
    cost = np.zeros((len(ours) + 1, len(theirs) + 1), dtype=np.int64)
    cost[:, 0], cost[0, :] = np.arange(len(ours) + 1), np.arange(len(theirs) + 1)
    for i, name in enumerate(ours, 1):
        for j, other in enumerate(theirs, 1):
            cost[i, j] = min(cost[i - 1, j - 1] + (name != other), cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    pairs = []
    i, j = len(ours), len(theirs)
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (ours[i - 1] != theirs[j - 1]):
            i, j = i - 1, j - 1
            if ours[i] == theirs[j]:
                pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _frame_agreement(ours: Sequence[Segment], theirs: Sequence[Segment], quiet: set[str], shift: float) -> np.ndarray:
    """Agreeing and all frames, the same without silence; frames of ours whose centre the reference covers too."""
    if not ours or not theirs:
        return np.zeros(4, dtype=np.int64)
    centres = np.arange(shift / 2, ours[-1][2], shift)
    centres = centres[(centres >= theirs[0][1]) & (centres < theirs[-1][2])]
    names = []
    for segments in (ours, theirs):
        starts = np.array([segment[1] for segment in segments])
        row = np.array(["" if segment[0] in quiet else segment[0] for segment in segments])
        names.append(row[np.clip(np.searchsorted(starts, centres + 1e-9, side="right") - 1, 0, len(row) - 1)])
    same, speech = names[0] == names[1], (names[0] != "") & (names[1] != "")
    return np.array([same.sum(), len(same), (same & speech).sum(), speech.sum()], dtype=np.int64)
