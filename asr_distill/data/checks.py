"""What a CutSet must satisfy before anything is computed from it; each refusal names the cut, its file and the next step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import (
    UserError,
    check_file,
)

_LISTED = 10  # offenders named in one message
_TOLERANCE = 1e-3  # seconds; manifests round times


def load_cuts(path: str | Path) -> list[Any]:
    """The cuts of a manifest, all of them, as a list (so that duplicate ids are seen).

    Raises `UserError` where the file is missing, is not a CutSet, or holds no cuts.
    """
    from lhotse import CutSet

    path = Path(path)
    check_file(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the stage that writes it first")
    try:
        cuts = list(CutSet.from_file(path))
    except Exception as error:  # lhotse raises anything on a line that it cannot read
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a lhotse CutSet ({type(error).__name__}: {reason}); write it anew") from None
    if not cuts:
        raise UserError(f"{path} holds no cuts; run the stage that writes it again")
    wrong = next((cut for cut in cuts if not hasattr(cut, "supervisions")), None)
    if wrong is not None:
        raise UserError(f"{path} holds {type(wrong).__name__} entries, expected cuts; give the cuts_*.jsonl.gz manifest")
    return cuts


def check_cuts(
    cuts: Iterable[Any],
    where: str,
    *,
    need_supervision: bool = True,
    need_text: bool = True,
    need_speaker: bool = True,
    need_audio: bool = True,
) -> None:
    """Refuses a CutSet that cannot be worked on.

    Looks for duplicate ids, zero durations, missing supervisions (``need_supervision``; a transfer set may have none),
    supervisions that run past the end of their recording or their cut, empty transcripts (``need_text``), missing speakers
    (``need_speaker``) and missing audio files (``need_audio``). ``where`` (the manifest's path) opens the message.
    Raises `UserError` listing what was found, problem by problem.
    """
    from asr_distill.features.audio import audio_files, name_of

    problems: dict[str, list[str]] = {}
    seen: set[str] = set()
    present: dict[str, bool] = {}
    for cut in cuts:
        name = name_of(cut)

        def note(problem: str, detail: str = "", name: str = name) -> None:
            problems.setdefault(problem, []).append(name + detail)

        if cut.id in seen:
            note("duplicate cut ids; give each cut an id of its own")
        seen.add(cut.id)
        if cut.duration <= 0:
            note("cuts of no duration; remove them", f": {cut.duration} s")
        if need_supervision and not cut.supervisions:
            note("cuts without a supervision (text and speaker); remove them or add it")
        for supervision in cut.supervisions:
            end = supervision.end
            recording = getattr(cut, "recording", None)
            if recording is not None and cut.start + end > recording.duration + _TOLERANCE:
                note(
                    "supervisions past the end of their recording; correct the times or fetch the audio again",
                    f": ends at {cut.start + end:.3f} s of {recording.duration:.3f} s",
                )
            elif end > cut.duration + _TOLERANCE or supervision.start < -_TOLERANCE:
                note(
                    "supervisions that reach outside their cut; cut the audio to whole supervisions",
                    f": {supervision.start:.3f} to {end:.3f} s of {cut.duration:.3f} s",
                )
            if need_text and not (supervision.text or "").strip():
                note("empty transcripts; remove the cuts or transcribe them")
            if need_speaker and not supervision.speaker:
                note("supervisions without a speaker; name the speaker in the manifest")
        if need_audio:
            for path in audio_files(cut):
                if path not in present:
                    present[path] = Path(path).is_file()
                if not present[path]:
                    note("missing audio files; mend the paths (relative to the working directory) or fetch the audio")
    if problems:
        raise UserError(f"{where}: {_listing(problems)}")


def check_disjoint_speakers(splits: Mapping[str, Iterable[Any]]) -> None:
    """Refuses splits (name to cuts) that share a speaker, a cut id or a recording."""
    problems: dict[str, list[str]] = {}
    owners: dict[tuple[str, str], str] = {}
    for split, cuts in splits.items():
        for cut in cuts:
            found = {("speaker", s.speaker) for s in cut.supervisions if s.speaker} | {("cut", cut.id)}
            recording = getattr(cut, "recording", None)
            if recording is not None:
                found.add(("recording", recording.id))
            for kind, value in sorted(found):
                owner = owners.setdefault((kind, value), split)
                if owner != split:
                    problem = f"{kind}s in both {owner} and {split}; move all that is theirs to one of the two"
                    listed = problems.setdefault(problem, [])
                    if f"{kind} {value}" not in listed:
                        listed.append(f"{kind} {value}")
    if problems:
        raise UserError(_listing(problems))


def _listing(problems: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for problem, offenders in problems.items():
        shown = "; ".join(offenders[:_LISTED])
        more = f"; and {len(offenders) - _LISTED} more" if len(offenders) > _LISTED else ""
        lines.append(f"{len(offenders)} x {problem}: {shown}{more}")
    return "\n".join(lines)
