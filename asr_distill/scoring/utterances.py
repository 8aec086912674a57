"""One scored utterance, and where utterances come from: a decode directory's hypotheses.jsonl or a pair of transcripts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, normalise_text, read_jsonl, split_words
from asr_distill.scoring.errors import ErrorCounts, count_errors
from asr_distill.scoring.markup import Reference, best_reading, change_words
from asr_distill.scoring.transcripts import Normalisation

_COUNTS = (
    "frames",
    "correct_frames",
    "frames_speech",
    "correct_frames_speech",
    "k2_path_correct_frames",
    "k2_path_correct_frames_speech",
    "phones",
    "phone_errors",
)
MOST = 1 << 53  # counts beyond are not exact as floating-point numbers
# A part can't exceed its whole.
_PARTS = {
    "correct_frames": "frames",
    "frames_speech": "frames",
    "correct_frames_speech": "frames_speech",
    "k2_path_correct_frames": "frames",
    "k2_path_correct_frames_speech": "frames_speech",
}


@dataclass(frozen=True)
class Utterance:
    """One utterance with its reference, its hypothesis (None: there is none) and its counts of frames; unknown counts are None.

    ``phones`` and ``phone_errors`` are reference phones and phone errors of a phone-loop decode of the same utterance.
    """

    id: str
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...] | None
    speaker: str | None = None
    split: str | None = None
    reached_final: bool | None = None
    frames: int | None = None
    correct_frames: int | None = None
    frames_speech: int | None = None
    correct_frames_speech: int | None = None
    k2_path_correct_frames: int | None = None
    k2_path_correct_frames_speech: int | None = None
    phones: int | None = None
    phone_errors: int | None = None

    @functools.cached_property
    def errors(self) -> ErrorCounts:
        """Insertions, deletions, substitutions of this utterance."""
        return count_errors(self.reference, self.hypothesis)


def utterance_from_row(
    row: Mapping[str, Any], where: str, normalise: Normalisation | None = None, *, need_reference: bool = True
) -> Utterance:
    """One row of hypotheses.jsonl or per_utterance.jsonl; keys it does not know are left alone.

    need_reference: without, a reference that is null is read as no words, for others to take its place.
    Raises `UserError` for missing keys, no reference where it is needed, counts that are no whole numbers, and parts greater
    than their whole.
    """
    missing = [key for key in ("id", "reference", "hypothesis") if key not in row]
    if missing:
        raise UserError(f"{where}: key {missing[0]!r} is missing; found {', '.join(row)}")
    if not isinstance(row["id"], (str, int)):
        raise UserError(f"{where}: the id is {row['id']!r}, expected text")
    values: dict[str, Any] = {"id": str(row["id"])}
    for key in ("reference", "hypothesis"):
        words = _words(row[key], f"{where}: {key}")
        values[key] = normalise(words) if normalise and words is not None else words
    if values["reference"] is None:
        if need_reference:
            raise UserError(
                f"{where}: the reference of {values['id']!r} is null, nothing to score by; give transcripts (`asr-distill score"
                " --ref`). An utterance without words has an empty text"
            )
        values["reference"] = ()
    for key, kind, name in (("speaker", str, "text"), ("split", str, "text"), ("reached_final", bool, "true, false")):
        values[key] = row.get(key)
        if values[key] is not None and not isinstance(values[key], kind):
            raise UserError(f"{where}: {key} of {values['id']!r} is {values[key]!r}, expected {name} or null")
    for key in _COUNTS:
        value = row.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST):
            raise UserError(f"{where}: {key} of {values['id']!r} is {value!r}, expected a whole number of at least 0 or null")
        values[key] = value
    for part, whole in _PARTS.items():
        if values[part] is not None and (values[whole] is None or values[part] > values[whole]):
            raise UserError(f"{where}: {part} of {values['id']!r} is {values[part]}, more than {whole}, {values[whole]}")
    return Utterance(**values)


def _words(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return tuple(split_words(normalise_text(value), where))
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(map(normalise_text, value))
    raise UserError(f"{where}: found {value!r}, expected text or a list of words")


def read_hypotheses(
    path: str | Path, normalise: Normalisation | None = None, *, need_reference: bool = True
) -> list[Utterance]:
    """Utterances of a decode directory (or of a hypotheses.jsonl), in the file's order.

    Raises `UserError` on duplicate ids and as `utterance_from_row` does.
    """
    path = Path(path)
    file = path / "hypotheses.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file} does not exist; run `asr-distill decode` first, or give --ref and --hyp")
    utterances = []
    seen: set[str] = set()
    for number, row in enumerate(read_jsonl(file), 1):
        if not isinstance(row, dict):
            raise UserError(f"{file}, row {number}: expected an object, found {type(row).__name__}")
        utterance = utterance_from_row(row, f"{file}, row {number}", normalise, need_reference=need_reference)
        if utterance.id in seen:
            raise UserError(f"{file}, row {number}: utterance id {utterance.id!r} occurs twice; decode again")
        seen.add(utterance.id)
        utterances.append(utterance)
    if not utterances:
        raise UserError(f"{file} holds no utterance; decode again")
    return utterances


def pair_transcripts(
    references: Mapping[str, Reference],
    hypotheses: Mapping[str, Sequence[str]],
    normalise: Normalisation | None = None,
) -> tuple[list[Utterance], list[str]]:
    """Utterances in the references' order, and the ids of hypotheses that no reference knows (they are not scored).

    A reference without a hypothesis gets None: all its words count as deleted. Of alternatives, the one that the hypothesis
    fits best becomes the reference.
    """
    change = normalise or Normalisation()
    utterances = []
    for id, reference in references.items():
        hypothesis = hypotheses.get(id)
        words = None if hypothesis is None else change(tuple(hypothesis))
        utterances.append(Utterance(id, best_reading(change_words(reference, change), words or ()), words))
    return utterances, [id for id in hypotheses if id not in references]


def with_references(
    utterances: Sequence[Utterance], references: Mapping[str, Reference], normalise: Normalisation | None = None
) -> tuple[list[Utterance], list[str]]:
    """A decode directory's utterances scored against another set of references: (utterances, ids that no reference knows)."""
    change = normalise or Normalisation()
    found = {utterance.id: utterance for utterance in utterances}
    paired = []
    for id, reference in references.items():
        own = found.get(id, Utterance(id, (), None))
        words = best_reading(change_words(reference, change), own.hypothesis or ())
        paired.append(dataclasses.replace(own, reference=words))
    return paired, [id for id in found if id not in references]


def with_speakers(utterances: Sequence[Utterance], speakers: Mapping[str, str]) -> list[Utterance]:
    """The utterances with their speakers. Raises `UserError` naming utterances that the mapping does not know."""
    absent = [utterance.id for utterance in utterances if utterance.id not in speakers]
    if absent:
        raise UserError(f"{len(absent)} utterances have no line in the utterance-to-speaker file: {', '.join(absent[:5])}")
    return [dataclasses.replace(utterance, speaker=speakers[utterance.id]) for utterance in utterances]
