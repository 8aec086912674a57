"""What a CutSet must satisfy before anything is computed from it; each refusal names the cut, its file and the next step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import UserError
from asr_distill.features.sources import read_manifest

_LISTED = 10  # offenders named in one message
_TOLERANCE = 0.01  # seconds, a frame; manifests round times
_TRIM = "make a cut of each (lhotse cut trim-to-supervisions CUTS OUTPUT)"


def load_cuts(path: str | Path) -> list[Any]:
    """The cuts of a manifest, all of them, as a list (so that duplicate ids are seen).

    Raises `UserError` where the file is missing, is not a CutSet, names anything but plain files, or holds no cuts.
    """
    cuts = read_manifest(path)
    if not cuts:
        raise UserError(f"{path} holds no cuts; run the stage that writes it again")
    wrong = next((cut for cut in cuts if not hasattr(cut, "supervisions")), None)
    if wrong is not None:
        raise UserError(f"{path} holds {type(wrong).__name__} entries, expected cuts; give the cuts_*.jsonl.gz manifest")
    return cuts


def load_utterances(path: str | Path) -> list[Any]:
    """`load_cuts`, and each of them an utterance: what every command takes that computes, aligns, labels or decodes.

    Raises `UserError` as `load_cuts` and `check_cuts` do; transcripts, speakers and audio files may be missing.
    """
    cuts = load_cuts(path)
    check_cuts(cuts, str(path), need_supervision=False, need_text=False, need_speaker=False, need_audio=False)
    return cuts


def check_utterance(cut: Any) -> None:
    """Raises `UserError` naming a cut that is no utterance, as `check_cuts` defines it."""
    from asr_distill.features.audio import name_of

    for problem, detail in _no_utterance(cut, one_supervision=True):
        raise UserError(f"{name_of(cut)}{detail}: {problem}")


def _no_utterance(cut: Any, one_supervision: bool) -> Iterator[tuple[str, str]]:
    """What keeps a cut from being one utterance: the problem, and the detail of this cut."""
    from lhotse import MonoCut, MultiCut

    if not isinstance(cut, (MonoCut, MultiCut)):
        yield (
            "mixed, padded or appended cuts, whose frames are not those of one recording; save their audio to files first"
            " (lhotse: CutSet.save_audios) and give the CutSet that comes back",
            f": {type(cut).__name__}",
        )
        return
    if one_supervision and len(cut.supervisions) > 1:
        yield f"cuts with several supervisions, expected one utterance a cut; {_TRIM}", f": {len(cut.supervisions)}"
    recording = cut.recording
    for supervision in cut.supervisions:
        end = supervision.end
        if recording is not None and cut.start + end > recording.duration + _TOLERANCE:
            yield (
                "supervisions past the end of their recording; correct the times or fetch the audio again",
                f": ends at {cut.start + end:.3f} s of {recording.duration:.3f} s",
            )
        elif end > cut.duration + _TOLERANCE or supervision.start < -_TOLERANCE:
            yield (
                f"supervisions that reach outside their cut, whose words are not all in it; {_TRIM}",
                f": {supervision.start:.3f} to {end:.3f} s of {cut.duration:.3f} s",
            )


def check_cuts(
    cuts: Iterable[Any],
    where: str,
    *,
    need_supervision: bool = True,
    need_text: bool = True,
    need_speaker: bool = True,
    need_audio: bool = True,
    one_supervision: bool = True,
) -> None:
    """Refuses a CutSet that cannot be worked on.

    A cut is an utterance: one recording or a window of it, neither mixed nor padded nor appended, with at most one supervision
    (``one_supervision``), which lies inside the cut and the recording to within 10 ms; the cut may be longer. Looks besides for
    duplicate ids, zero durations, missing supervisions (``need_supervision``; a transfer set may have none), empty transcripts
    (``need_text``), missing speakers (``need_speaker``) and missing audio files (``need_audio``). ``where`` (the manifest's
    path) opens the message.
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
        for problem, detail in _no_utterance(cut, one_supervision):
            note(problem, detail)
        for supervision in cut.supervisions:
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
