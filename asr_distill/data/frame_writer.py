"""Writes a frame store from a CutSet: normalises, checks every array, and leaves a whole store or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from asr_distill.base import UserError, atomic_directory, hash_of_file, track, write_json, write_jsonl
from asr_distill.data.frame_store import KIND, META, NO_LABEL, SCHEMA, FrameStore
from asr_distill.features import Fbank40, Fbank40Config, Normalisation, NormalisationAccumulator, NormalisationKind
from asr_distill.features.audio import name_of
from asr_distill.senones import check_same


def write_frame_store(
    path: str | Path,
    cuts: Iterable[Any],
    normalisation: NormalisationKind | Normalisation = "none",
    *,
    feature_config: Fbank40Config | None = None,
    senones_hash: str | None = None,
    num_senones: int | None = None,
    labels_field: str = "senones",
    dtype: Literal["float32", "float16"] = "float32",
) -> FrameStore:
    """Writes the features, and the labels where there are any, of ``cuts`` as a frame store, and opens it.

    cuts: with lhotse features, one speaker each where ``normalisation`` is per speaker, and optionally a temporal array
      ``labels_field`` of senones (negative: none). Cuts without it are stored without labels.
    normalisation: a kind, whose statistics are then gathered from these cuts, or statistics that exist already.
    feature_config: by default what `fbank.json` beside the stored features says.
    senones_hash: the hash of the inventory that the labels belong to, for labels without one cannot be trusted later.
    num_senones: the inventory's size; larger labels are refused.
    Raises `UserError` naming the cut whose features are missing, not finite, or differ in length from its labels.
    """
    cuts = list(cuts)
    if not cuts:
        raise UserError("there are no cuts to store; run the stage that writes them again")
    config = feature_config or find_feature_config(cuts)
    _check_features(cuts, config)
    chosen = _gathered(cuts, normalisation) if isinstance(normalisation, str) else normalisation
    with atomic_directory(path) as folder:
        offsets = np.concatenate([[0], np.cumsum([_num_frames(cut) for cut in cuts])]).astype(np.int64)
        num_frames, dim = int(offsets[-1]), config.num_mel_bins
        features = np.lib.format.open_memmap(folder / "features.npy", mode="w+", dtype=dtype, shape=(num_frames, dim))
        labels = np.lib.format.open_memmap(folder / "labels.npy", mode="w+", dtype=np.int32, shape=(num_frames,))
        for index, cut in enumerate(track(cuts, f"frame store {path}", len(cuts), "cuts")):
            start, end = offsets[index], offsets[index + 1]
            normalised = chosen.apply(load_features(cut), normalisation_speaker(cut))
            features[start:end] = normalised
            if dtype == "float16" and not np.isfinite(features[start:end]).all():
                raise UserError(f"{name_of(cut)}: features beyond the range of float16; use float32")
            labels[start:end] = _labels(cut, labels_field, int(end - start), num_senones, senones_hash)
        num_labelled = int((labels != NO_LABEL).sum())
        if num_labelled and senones_hash is None:
            raise UserError(
                "the cuts have senone labels; name their inventory (senones_hash, or --senones on the command line)"
            )
        features.flush()
        labels.flush()
        del features, labels
        np.save(folder / "offsets.npy", offsets)
        write_jsonl(folder / "cuts.jsonl", ({"id": cut.id, "speaker": speaker_of(cut)} for cut in cuts))
        chosen.save(folder)
        meta = {
            "kind": KIND,
            "schema": SCHEMA,
            "num_cuts": len(cuts),
            "num_frames": num_frames,
            "num_labelled": num_labelled,
            "dim": dim,
            "dtype": dtype,
            "feature_config": config.to_dict(),
            "normalisation": chosen.describe(),
            "senones_hash": senones_hash if num_labelled else None,
            "num_senones": num_senones if num_labelled else None,
            "files": {
                file.name: {"bytes": file.stat().st_size, "sha256": hash_of_file(file)} for file in sorted(folder.iterdir())
            },
        }
        write_json(folder / META, meta)
    return FrameStore.open(path)


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
    """The stored features ``(T, D)`` float32 of a cut. Raises `UserError` where they are missing, cut short or not finite."""
    stored = cut.features
    whole = abs(stored.start - cut.start) < 1e-3 and abs(stored.duration - cut.duration) < 1e-3
    try:
        features = stored.load() if whole else stored.load(start=cut.start, duration=cut.duration)
    except (OSError, ValueError) as error:
        raise UserError(f"{name_of(cut)}: its features cannot be read ({error}); run `asr-distill features` again") from None
    if features.shape != (_num_frames(cut), stored.num_features):
        raise UserError(
            f"{name_of(cut)}: stored features {features.shape}, the manifest says {(_num_frames(cut), stored.num_features)};"
            " run `asr-distill features` again"
        )
    if not np.isfinite(features).all():
        raise UserError(
            f"{name_of(cut)}: its features hold NaN or infinity; mend the audio and run `asr-distill features` again"
        )
    return features


def _num_frames(cut: Any) -> int:
    stored = cut.features
    whole = abs(stored.start - cut.start) < 1e-3 and abs(stored.duration - cut.duration) < 1e-3
    return int(stored.num_frames if whole else cut.num_frames)


def _check_features(cuts: Sequence[Any], config: Fbank40Config) -> None:
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
        if _num_frames(cut) < 1:
            raise UserError(f"{name_of(cut)} has no frames; remove it")


def _gathered(cuts: Sequence[Any], kind: NormalisationKind) -> Normalisation:
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


def _labels(cut: Any, name: str, num_frames: int, num_senones: int | None, senones_hash: str | None) -> np.ndarray:
    custom = getattr(cut, "custom", None) or {}
    stored = custom.get(name)
    if stored is None:
        return np.full(num_frames, NO_LABEL, dtype=np.int32)
    if senones_hash is not None and "senones_hash" in custom:
        check_same(custom["senones_hash"], senones_hash, f"the labels of {name_of(cut)}", "the senones of the store")
    try:
        values = stored.load()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{name_of(cut)}: its labels cannot be read ({error}); run `asr-distill tree` or `align` again"
        ) from None
    skipped = round((cut.start - stored.start) / stored.frame_shift)
    is_part = skipped > 0 or abs(stored.duration - cut.duration) > stored.frame_shift
    if is_part and len(values) > num_frames:
        values = values[skipped : skipped + num_frames]
    if values.shape != (num_frames,) or not np.issubdtype(values.dtype, np.integer):
        raise UserError(
            f"{name_of(cut)}: labels {values.dtype} {values.shape} for {num_frames} frames of features; one label is needed for"
            " each frame, so make both with the same snip_edges and frame shift"
        )
    if num_senones is not None and len(values) and int(values.max()) >= num_senones:
        raise UserError(f"{name_of(cut)}: label {int(values.max())} in an inventory of {num_senones} senones; label it again")
    return np.where(values < 0, NO_LABEL, values).astype(np.int32)
