"""What a cut has for a network: stored features, the configuration they were made with, senone labels, its speaker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError, track
from asr_distill.features import Fbank40, Fbank40Config, Normalisation, NormalisationAccumulator, NormalisationKind
from asr_distill.features.audio import name_of
from asr_distill.features.frame_counts import frames_of_time, num_frames_of, window_of
from asr_distill.features.sources import check_sources
from asr_distill.features.stored_arrays import read_stored, read_stored_labels
from asr_distill.senones import check_same

NO_LABEL = -1  # in arrays of labels; batches carry `asr_distill.data.IGNORE_INDEX` instead


def find_feature_config(cuts: Sequence[Any]) -> Fbank40Config:
    """The configuration in `fbank.json`, in or above the folder where the first cut's features lie.

    Raises `UserError` where there is none, since a store without its configuration could not be used later.
    """
    file = feature_config_file(cuts[0])
    if file is not None:
        return Fbank40Config.load(file)
    storage = _storage_of(cuts[0])
    raise UserError(
        f"no fbank.json in {storage} or above it: how the features of cut {cuts[0].id} were made is not known; compute them"
        " with `asr-distill features`, or name the file with --feature-config"
    )


def feature_config_file(cut: Any) -> Path | None:
    """``fbank.json``, in or above the folder where the features of a cut lie; None where there is none."""
    storage = _storage_of(cut)
    files = (folder / "fbank.json" for folder in (storage, storage.parent))
    return next((file for file in files if file.is_file()), None)


def _storage_of(cut: Any) -> Path:
    features = getattr(cut, "features", None)
    return Path(str(getattr(features, "storage_path", "") or "."))


def speaker_of(cut: Any) -> str | None:
    """The speaker of the cut's first supervision, or None."""
    return cut.supervisions[0].speaker if cut.supervisions else None


def normalisation_speaker(cut: Any) -> str | None:
    """Whose statistics normalise the cut: the speaker's, apart for each speed, since another speed shifts the spectrum."""
    speaker, speed = speaker_of(cut), (getattr(cut, "custom", None) or {}).get("speed")
    return f"{speaker}_sp{speed}" if speaker and speed else speaker


def load_features(cut: Any) -> np.ndarray:
    """The stored features ``(T, D)`` float32 of a cut. Raises `UserError` where they are missing, damaged or not finite."""
    check_sources(cut)
    stored = cut.features
    try:
        features = read_stored(stored, "run `asr-distill features` again", *(window_of(cut) or ()))
    except UserError as error:
        raise UserError(f"{name_of(cut)}: its features cannot be read: {error}") from None
    if features.shape != (num_frames_of(cut), stored.num_features):
        raise UserError(
            f"{name_of(cut)}: stored features {features.shape}, the manifest says {(num_frames_of(cut), stored.num_features)};"
            " run `asr-distill features` again"
        )
    if not np.isfinite(features).all():
        raise UserError(
            f"{name_of(cut)}: its features hold NaN or infinity; mend the audio and run `asr-distill features` again"
        )
    return features


def check_features(cuts: Sequence[Any], config: Fbank40Config) -> None:
    """Raises `UserError` naming a cut that comes twice, has no stored features, or has some that ``config`` does not give."""
    seen: set[str] = set()
    for cut in cuts:
        if cut.id in seen:
            raise UserError(f"{name_of(cut)} occurs twice; give each cut an id of its own")
        seen.add(cut.id)
        stored = getattr(cut, "features", None)
        if stored is None:
            raise UserError(f"{name_of(cut)} has no features; run `asr-distill features` and give the CutSet that it writes")
        found = (stored.num_features, round(stored.frame_shift, 6), stored.sampling_rate)
        expected = (config.num_mel_bins, round(config.frame_shift, 6), config.sampling_rate)
        if found != expected or stored.type != Fbank40.name:
            raise UserError(
                f"{name_of(cut)}: features {stored.type!r} of {found} (bins, frame shift, rate), the configuration says"
                f" {Fbank40.name!r} of {expected}; compute all features with one configuration"
            )
        if num_frames_of(cut) < 1:
            raise UserError(f"{name_of(cut)} has no frames; remove it")


def gather_normalisation(cuts: Sequence[Any], kind: NormalisationKind) -> Normalisation:
    """The statistics of the cuts' stored features; none are gathered for the kinds that need none."""
    accumulator = NormalisationAccumulator(kind)
    for cut in _progress(cuts, kind):
        try:
            accumulator.update(load_features(cut), normalisation_speaker(cut))
        except UserError as error:
            message = str(error)
            raise UserError(message if cut.id in message else f"{name_of(cut)}: {message}") from None
    return accumulator.finish()


def _progress(cuts: Sequence[Any], kind: str) -> Iterator[Any]:
    if kind in ("none", "utterance"):
        return iter(())
    return track(cuts, f"normalisation statistics per {kind}", len(cuts), "cuts")


def senone_labels(cut: Any, name: str, num_frames: int, num_senones: int | None, senones_hash: str | None) -> np.ndarray:
    """Labels ``(T,)`` int32 of a cut, its custom array ``name``; `NO_LABEL` where it has none.

    Raises `UserError` naming the cut whose labels are of other senones, cannot be read, or are not one for each frame.
    """
    check_sources(cut)
    custom = getattr(cut, "custom", None) or {}
    if custom.get(name) is None:
        return np.full(num_frames, NO_LABEL, dtype=np.int32)
    if senones_hash is not None and "senones_hash" in custom:
        check_same(custom["senones_hash"], senones_hash, f"the labels of {name_of(cut)}", "the senones of the store")
    try:
        stored, values = read_stored_labels(cut, name, "run `asr-distill tree` or `align` again")
    except UserError as error:
        raise UserError(f"{name_of(cut)}: its labels cannot be read: {error}") from None
    skipped = frames_of_time(cut.start - stored.start, stored.frame_shift)
    longer = stored.duration - cut.duration > 1.01 * stored.frame_shift
    is_part = skipped > 0 or longer or (cut.has_features and window_of(cut) is not None)
    if is_part and len(values) > num_frames:
        values = values[skipped : skipped + num_frames]
    if values.shape != (num_frames,):
        raise UserError(
            f"{name_of(cut)}: labels {values.dtype} {values.shape} for {num_frames} frames of features; one label is needed for"
            " each frame, so make both with the same snip_edges and frame shift"
        )
    if num_senones is not None and len(values) and int(values.max()) >= num_senones:
        raise UserError(f"{name_of(cut)}: label {int(values.max())} in an inventory of {num_senones} senones; label it again")
    return np.where(values < 0, NO_LABEL, values).astype(np.int32)
