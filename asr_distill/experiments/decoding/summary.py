"""From decoded utterances to the figures of decode.json and the lines on the screen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_distill.decoding.evaluation import DecodedUtterance
from asr_distill.scoring.errors import ErrorCounts, count_errors


def error_rate(utterances: Sequence[DecodedUtterance]) -> float | None:
    """Word (or phone) errors in per cent of the reference, None without references and where all are empty."""
    known = ((u.reference, u.result.words) for u in utterances if u.reference is not None)
    return sum((count_errors(reference, words) for reference, words in known), ErrorCounts()).rate


def not_final(utterances: Sequence[DecodedUtterance]) -> list[str]:
    """Ids of the utterances that reached no final state."""
    return [utterance.id for utterance in utterances if not utterance.result.reached_final]


def phone_counts(utterance: DecodedUtterance) -> dict[str, int]:
    """What a phone loop's row says besides: reference phones and errors. The utterance has a reference."""
    counts = count_errors(utterance.reference or (), utterance.result.words)
    return {"phones": counts.words, "phone_errors": counts.errors}


def frame_accuracies(utterances: Sequence[DecodedUtterance]) -> dict[str, float] | None:
    """Per cent of labelled frames, by the network's choice and along the best path, all frames and speech; None without
    labels."""
    labelled = [u.frames for u in utterances if u.frames["correct_frames"] is not None]
    if not labelled:
        return None

    def share(part: str, whole: str) -> float:
        total = sum(frames[whole] or 0 for frames in labelled)
        return round(100.0 * sum(frames[part] or 0 for frames in labelled) / total, 3) if total else 0.0

    return {
        "network": share("correct_frames", "frames"),
        "network_speech": share("correct_frames_speech", "frames_speech"),
        "path": share("k2_path_correct_frames", "frames"),
        "path_speech": share("k2_path_correct_frames_speech", "frames_speech"),
    }


def join_subwords(utterance: DecodedUtterance) -> DecodedUtterance:
    """The utterance with sentencepiece pieces joined into words, each with the frame of its first piece; also in the n best."""
    from asr_distill.lang.subwords import begins_word, join_pieces

    result = utterance.result
    words = tuple(join_pieces(result.words))
    begins = [i == 0 or begins_word(piece) for i, piece in enumerate(result.words)]
    frames = tuple(frame for frame, first in zip(result.word_frames, begins, strict=True) if first)[: len(words)]
    nbest = None
    if result.nbest is not None:
        nbest = tuple(dataclasses.replace(item, words=tuple(join_pieces(item.words))) for item in result.nbest)
    return dataclasses.replace(utterance, result=dataclasses.replace(result, words=words, word_frames=frames, nbest=nbest))


def without_words(utterance: DecodedUtterance) -> DecodedUtterance:
    """The utterance with an empty hypothesis: nothing was said in digital silence, whatever a search makes of it."""
    result = utterance.result
    nbest = None if result.nbest is None else result.nbest[:0]
    return dataclasses.replace(utterance, result=dataclasses.replace(result, words=(), word_frames=(), nbest=nbest))


def spoken_line(utterance: DecodedUtterance, silent: bool) -> str:
    """The words of a file, for people."""
    return f"{utterance.id}: {'(digital silence)' if silent else ' '.join(utterance.result.words)}"


def as_text(summary: dict[str, Any], output: Path) -> str:
    """The summary for people."""
    kind = "phone" if summary["units"] == "phones" else "word"
    rtf = summary["rtf"]
    rate = "no reference" if summary["error_rate"] is None else f"{kind} error rate {summary['error_rate']:.2f} %"
    lines = [
        f"{summary['system']} {summary['split']}: {summary['utterances']} utterances, {rate}, {summary['engine']},"
        f" acoustic scale {summary['acoustic_scale']:g}, beam {summary['beam']:g}",
        f"  real-time factor: features {rtf['features']:.4f}, network {rtf['network']:.4f}, search {rtf['search']:.4f}"
        f" ({summary['seconds_of_speech']:.1f} s of speech in {summary['seconds']:.1f} s)",
    ]
    accuracy = summary["frame_accuracy"]
    if accuracy:
        lines.append(
            f"  frame accuracy: network {accuracy['network']:.2f} % (speech {accuracy['network_speech']:.2f}),"
            f" best path {accuracy['path']:.2f} % (speech {accuracy['path_speech']:.2f})"
        )
    if summary["not_final"]:
        lines.append(f"  {summary['not_final']} reached no final state: {' '.join(summary['not_final_ids'][:5])}")
    if summary["left_out"]:
        lines.append(f"  {len(summary['left_out'])} left out, not scored: {' '.join(list(summary['left_out'])[:5])}")
    for row in summary.get("grid", ()):
        lines.append(
            f"  {row['graph']} scale {row['acoustic_scale']:g}: {row['error_rate']:.2f} %, {row['not_final']} not final"
        )
    lines.append(f"  wrote {output}")
    return "\n".join(lines)
