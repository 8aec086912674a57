"""An alignment that a person can read: words, their phones, frames and times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asr_distill.base import UserError
from asr_distill.senones import FrameAlignment


def check_phones(alignment: FrameAlignment, phones: Sequence[str], what: str) -> None:
    """Raises `UserError` where the alignment has phone ids beyond ``phones`` (names in id order, id 1 first)."""
    if len(alignment.phones) and int(alignment.phones.max()) > len(phones):
        raise UserError(
            f"{what} has phone id {int(alignment.phones.max())}, the lang directory has {len(phones)} phones; give the lang"
            " directory that it was aligned with"
        )


def rows(alignment: FrameAlignment, phones: Sequence[str], frame_shift: float = 0.01) -> list[dict[str, Any]]:
    """One row per phone: word (of its first phone, else empty), phone, first frame, frames, start and end in seconds, states.

    ``states`` is frames spent in HMM states, in order: ``[[state, frames], ...]``.
    """
    begins = {first: word for word, first, last in alignment.words if last > first}
    table = []
    for index, (phone, first, last) in enumerate(alignment.phone_segments()):
        states: list[list[int]] = []
        for state in alignment.hmm_states[first:last].tolist():
            if states and states[-1][0] == state:
                states[-1][1] += 1
            else:
                states.append([state, 1])
        table.append(
            {
                "word": begins.get(index, ""),
                "phone": phones[phone - 1],
                "first_frame": first,
                "frames": last - first,
                "start": round(first * frame_shift, 4),
                "end": round(last * frame_shift, 4),
                "states": states,
            }
        )
    return table


def text_table(key: str, alignment: FrameAlignment, phones: Sequence[str], frame_shift: float = 0.01) -> str:
    """The rows as text, a head line above."""
    table = rows(alignment, phones, frame_shift)
    word_width = max([len("word"), *(len(row["word"]) for row in table)])
    phone_width = max([len("phone"), *(len(row["phone"]) for row in table)])
    likelihood = alignment.log_likelihood
    head = f"{key}: {len(alignment)} frames, {len(alignment) * frame_shift:.2f} s, {len(alignment.words)} words"
    if likelihood is not None and len(alignment):
        head += f", log-likelihood {likelihood / len(alignment):.3f} a frame"
    lines = [
        head,
        f"{'word':{word_width}}  {'phone':{phone_width}}  {'frames':>11}  {'start s':>8} {'end s':>8}  state x frames",
    ]
    for row in table:
        span = f"{row['first_frame']}-{row['first_frame'] + row['frames'] - 1}"
        states = " ".join(f"{state}x{count}" for state, count in row["states"])
        lines.append(
            f"{row['word']:{word_width}}  {row['phone']:{phone_width}}  {span:>11}  {row['start']:8.2f} {row['end']:8.2f}"
            f"  {states}"
        )
    return "\n".join(lines)
