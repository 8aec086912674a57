"""Senone labels and phones of every frame, stored on the cuts as lhotse temporal arrays."""

from __future__ import annotations

import glob
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import (
    UserError,
    atomic_directory,
    hash_of_array,
    hash_of_object,
    only_writer,
    remove_folder,
    remove_leftovers,
    track,
    write_jsonl,
)
from asr_distill.features.frame_counts import num_frames_of
from asr_distill.features.sources import check_sources
from asr_distill.features.stored_arrays import read_stored_labels
from asr_distill.senones.frame_alignment import FrameAlignment
from asr_distill.senones.inventory import SenoneInventory, check_same

_log = logging.getLogger("asr_distill")
MAX_NAMED = 10
_NAMED_BY = 16  # digits of the labels' hash in the name of their folder
_HEXADECIMAL = "[0-9a-f]"


@dataclass(frozen=True, eq=False)
class LabelReport:
    """What was labelled.

    Attributes:
        num_cuts: cuts written.
        num_frames: frames written.
        without_alignment: ids of cuts that have no alignment, or one of another number of frames; they are not in the output.
        counts: ``(C,)`` int64 frames of each senone.
    """

    num_cuts: int
    num_frames: int
    without_alignment: tuple[str, ...]
    counts: np.ndarray


def write_labels(
    cuts: Iterable[Any],
    alignments: Mapping[str, FrameAlignment],
    inventory: SenoneInventory,
    out: str | Path,
    *,
    max_missing_share: float = 0.05,
) -> LabelReport:
    """Writes the cuts with ``senones`` and ``phones``, lhotse ``TemporalArray`` of int32 ``(T,)``, lossless.

    The arrays lie beside the manifest in ``{name}_arrays-{hash}/``, named after the labels; each cut also carries the
    inventory's hash as ``senones_hash``. The manifest is replaced last, in one move, and the arrays of earlier ones go after
    that: at any moment a manifest that is there has its arrays.

    Args:
        cuts: lhotse cuts with features; read once, in order.
        alignments: by cut id.
        out: the manifest, ``labels/cuts_train.jsonl.gz``.
        max_missing_share: the share of cuts, 0 to 1, that may lack an alignment of as many frames as they have.

    Raises `UserError`, naming the cut, where it has no features or the alignment doesn't fit the inventory; where too many
    cuts have no alignment; or where another process writes there. What was there before stays then.
    """
    out = Path(out).resolve()  # the manifest names its arrays, and is read from other working directories
    with only_writer(out):
        labelled, report, identity = _counted(cuts, alignments, inventory, max_missing_share)
        alike = f"{out.name.split('.')[0]}_arrays"
        remove_leftovers(out.parent, alike)
        arrays = out.parent / f"{alike}-{identity[:_NAMED_BY]}"
        labelled = _write_arrays(arrays, labelled, alignments, inventory)
        write_jsonl(out, (cut.to_dict() for cut in labelled), listed=True)
        for other in out.parent.glob(f"{glob.escape(alike)}-{_HEXADECIMAL * _NAMED_BY}"):
            if other != arrays:
                remove_folder(other, alike)
    return report


def _counted(
    cuts: Iterable[Any], alignments: Mapping[str, FrameAlignment], inventory: SenoneInventory, max_missing_share: float
) -> tuple[list[Any], LabelReport, str]:
    """The cuts to label, what will be labelled, and a hash of the labels."""
    labelled: list[Any] = []
    missing: dict[str, str] = {}
    counts = np.zeros(inventory.num_senones, dtype=np.int64)
    identity = hashlib.sha256(inventory.hash.encode())
    for cut in cuts:
        alignment = alignments.get(cut.id)
        if problem := _problem(cut, alignment):
            missing[cut.id] = problem
        if alignment is None or problem:
            continue
        senones = _checked_labels(cut, alignment, inventory)
        identity.update(hash_of_object([cut.id, hash_of_array(senones), hash_of_array(alignment.frame_phones)]).encode())
        counts += np.bincount(senones, minlength=inventory.num_senones)
        labelled.append(cut)
    if not labelled or len(missing) > max_missing_share * (len(labelled) + len(missing)):
        raise UserError(
            f"{len(missing)} of {len(labelled) + len(missing)} cuts have no alignment that fits ({_named(missing)}),"
            f" allowed are {100 * max_missing_share:g} %; are these the alignments of these cuts? Else allow more"
        )
    if different := [key for key, problem in missing.items() if problem != "no alignment"]:
        _log.warning("%d cuts are not labelled: %s", len(different), _named({key: missing[key] for key in different}))
    return labelled, LabelReport(len(labelled), int(counts.sum()), tuple(missing), counts), identity.hexdigest()


def _write_arrays(
    folder: Path, cuts: Iterable[Any], alignments: Mapping[str, FrameAlignment], inventory: SenoneInventory
) -> list[Any]:
    """Writes the arrays of all cuts; returns the cuts that refer to them."""
    from lhotse.features.io import NumpyFilesWriter
    from lhotse.utils import fastcopy

    done = []
    with atomic_directory(folder) as temporary:
        writer = NumpyFilesWriter(temporary)
        for number, cut in enumerate(track(cuts, "labels", unit="cuts")):
            custom = {**(cut.custom or {}), "senones_hash": inventory.hash}
            alignment = alignments[cut.id]
            for name, array in (("senones", inventory.label(alignment)), ("phones", alignment.frame_phones)):
                # lhotse spreads files over folders named by a key's first three letters
                stored = writer.store_array(
                    f"{number % 16:03d}-{number}-{name}", array, frame_shift=cut.frame_shift, temporal_dim=0, start=cut.start
                )
                stored.array.storage_path = str(folder)
                custom[name] = stored
            done.append(fastcopy(cut, custom=custom))
    return done


def _problem(cut: Any, alignment: FrameAlignment | None) -> str:
    """Why a cut cannot be labelled; empty where it can."""
    if not cut.has_features:
        raise UserError(f"cut {cut.id!r} has no features; compute them first: asr-distill features")
    if alignment is None:
        return "no alignment"
    frames = num_frames_of(cut)
    different = f"it has {frames} frames, its alignment {len(alignment)}; align again on these features"
    return different if len(alignment) != frames else ""


def _checked_labels(cut: Any, alignment: FrameAlignment, inventory: SenoneInventory) -> np.ndarray:
    try:
        return inventory.label(alignment)
    except UserError as error:
        raise UserError(f"cut {cut.id!r}: {error}") from None


def _named(problems: Mapping[str, str]) -> str:
    named = "; ".join(f"{key}: {problem}" for key, problem in list(problems.items())[:MAX_NAMED])
    return named + (f"; and {len(problems) - MAX_NAMED} more" if len(problems) > MAX_NAMED else "")


def read_label_arrays(cuts: Iterable[Any], inventory_hash: str | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Yields ``(cut id, (T,) int32)`` of labelled cuts.

    Raises `UserError` where a cut has no labels, or with ``inventory_hash`` where its labels are of another inventory.
    """
    for cut in cuts:
        check_sources(cut)
        custom = cut.custom or {}
        if custom.get("senones") is None:
            raise UserError(f"cut {cut.id!r} has no senone labels; write them with `asr-distill tree label`")
        if inventory_hash is not None:
            check_same(custom.get("senones_hash"), inventory_hash, f"the labels of cut {cut.id!r}", "the senones in use")
        try:
            _, labels = read_stored_labels(
                cut, "senones", "run `asr-distill tree label` again"
            )  # by count: lhotse trims by duration
        except UserError as error:
            raise UserError(f"the labels of cut {cut.id!r} cannot be read: {error}") from None
        yield cut.id, labels.astype(np.int32)
