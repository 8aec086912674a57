"""lhotse CutSets of any origin as lists of utterances: one for each supervision, cut out of its recording.

Only recordings in files are taken, with nothing done to them but resampling, which is done anew where it is needed: what a
CutSet promises lazily (speed, mixing, padding, audio from elsewhere) has to be saved to files first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse import MonoCut, MultiCut

from asr_distill.base import UserError, normalise_text, split_words
from asr_distill.data.checks import check_cuts, load_cuts
from asr_distill.data.corpora import SpeakerSource, Utterance
from asr_distill.features.audio import name_of

_SAVE = "save the audio first (lhotse: CutSet.save_audios) and give the CutSet that comes back"


def read_cut_set(
    path: Path, audio_roots: Sequence[Path] = (), *, speaker_from: SpeakerSource = "supervision"
) -> list[Utterance]:
    """The utterances of a CutSet's file, in sorted order; features that it may have are left behind.

    A cut with one supervision gives its id to the utterance, of several each gives its own. Relative paths of recordings are
    looked for in ``audio_roots``, the manifest's folder, its parent and the working directory. ``speaker_from``: where a
    supervision names no speaker, ``recording`` takes its recording for one, ``utterance`` itself. Words come back in Unicode's
    composed form (NFC). Raises `UserError` for a file that is no CutSet, cuts without a supervision, supervisions without a
    speaker or outside their cut, and audio that is not in files as it is.
    An utterance without a transcript comes back with an empty text, for `write_manifests` to refuse or count.
    """
    cuts = load_cuts(path)
    check_cuts(cuts, str(path), need_text=False, need_speaker=False, need_audio=False, one_supervision=False)
    roots = [*audio_roots, path.parent, path.parent.parent, Path.cwd()]
    utterances, nameless = [], []
    for cut in cuts:
        _check_kind(cut, path)
        for supervision in cut.supervisions:
            if not supervision.speaker and speaker_from == "supervision":
                nameless.append(name_of(cut))
            utterances.append(_utterance(cut, supervision, path, roots, speaker_from))
    if nameless:
        raise UserError(
            f"{path}: {len(nameless)} of {len(utterances)} supervisions name no speaker, the first is that of {nameless[0]}; by"
            " speakers features are normalised, parts kept apart and intervals drawn. Next: name them in the manifest, or"
            " --speaker-from recording, where no two recordings have a speaker in common, or --speaker-from utterance"
        )
    return sorted(utterances, key=lambda row: row.id)


def _check_kind(cut: Any, path: Path) -> None:
    where = f"{path}: {name_of(cut)}"
    recording = cut.recording
    if recording is None:
        raise UserError(f"{where} has no recording; give a CutSet with recordings, for features are computed anew")
    changed = [type(change).__name__ for change in recording.transforms or () if type(change).__name__ != "Resample"]
    if changed:
        raise UserError(f"{where}: its recording has the transform {changed[0]}, expected audio as it is on disk; {_SAVE}")


def _utterance(
    cut: MonoCut | MultiCut, supervision: Any, path: Path, roots: Sequence[Path], speaker_from: SpeakerSource
) -> Utterance:
    recording = cut.recording
    wanted = cut.channel if isinstance(cut.channel, list) else [cut.channel]
    sources = [source for source in recording.sources if set(wanted) <= set(source.channels)]
    if not sources:
        raise UserError(
            f"{path}: {name_of(cut)} has channels {wanted}, which lie in several files; make a cut of one channel of it"
        )
    source = sources[0]
    # Times are rounded by whoever wrote them: a supervision may stand out of its cut by a little.
    start, end = max(supervision.start, 0.0), min(supervision.end, cut.duration)
    gender = {"m": "M", "f": "F"}.get((supervision.gender or "").lower(), supervision.gender)
    name = cut.id if len(cut.supervisions) == 1 else supervision.id
    return Utterance(
        id=name,
        audio=_find(str(source.source), roots),
        speaker=supervision.speaker or (name if speaker_from == "utterance" else recording.id),
        text=" ".join(split_words(normalise_text(supervision.text or ""), f"{path}: the transcript of {name}")),
        recording_id=recording.id if len(recording.sources) == 1 else f"{recording.id}-{recording.sources.index(source)}",
        start=cut.start + start,
        duration=end - start,
        gender=gender or None,
        channel=source.channels.index(wanted[0]) if len(wanted) == 1 else None,
    )


def _find(name: str, roots: Sequence[Path]) -> Path:
    """The file of that name under the first root that has it; else where the first root would, for the message."""
    return next((root / name for root in roots if (root / name).is_file()), roots[0] / name).absolute()
