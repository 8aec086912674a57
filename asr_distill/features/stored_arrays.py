"""Arrays that lhotse manifests name, read within bounds: numpy's files by our own reader, lilcom's by lhotse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lhotse.array import TemporalArray

from asr_distill.base import UserError, read_array
from asr_distill.features.manifest_values import shown

_LARGEST_LABEL = 2**31 - 1
_READ = ("numpy_files", "lilcom_files", "lilcom_chunky")  # hdf5 may name other files, load plug-ins and declare any size


def read_stored(stored: Any, again: str, first: int = 0, count: int | None = None) -> np.ndarray:
    """The array of lhotse ``Features`` or an ``Array`` that has passed `check_sources`; ``count`` rows from ``first`` on.

    A numpy file is compared with its digest before, where its folder has a list. Raises `UserError` where it is missing or
    damaged, or of a storage that is not read here; ``again`` ends its message with what to do.
    """
    kind, last = stored.storage_type, None if count is None else first + count
    if kind not in _READ:
        raise UserError(f"stored as {kind}, read are {', '.join(_READ)}; {again}, or copy it (lhotse: CutSet.copy_feats)")
    path = Path(stored.storage_path).absolute()  # so that no name is a pipe or an address to lhotse
    if kind == "numpy_files":
        array = read_array(path / stored.storage_key.lstrip("/"), mapped=True, again=again)
        if not array.ndim:
            raise UserError(f"{path / stored.storage_key} holds one number, expected rows of them; {again}")
        return np.array(array[first:last])
    from lhotse.features.io import get_reader

    try:
        array = get_reader(kind)(str(path)).read(stored.storage_key, left_offset_frames=first, right_offset_frames=last)
    except (Exception, MemoryError) as error:  # lhotse, and lilcom on bytes that are none of its own, raise anything
        raise UserError(f"{path} ({shown(stored.storage_key)}): {type(error).__name__}: {error}; {again}") from None
    return np.asarray(array)


def read_stored_labels(cut: Any, name: str, again: str) -> tuple[TemporalArray, np.ndarray]:
    """The custom array ``name`` of a cut that has passed `check_sources`: its manifest, and its ``(T,)`` whole numbers.

    Raises `UserError` where it is no ``TemporalArray`` of whole numbers, and what `read_stored` raises.
    """
    stored = cut.custom[name]
    if not isinstance(stored, TemporalArray):
        raise UserError(f"found {type(stored).__name__}, expected a lhotse TemporalArray; {again}")
    values = read_stored(stored.array, again)
    if stored.temporal_dim != 0 or len(stored.shape) != 1 or values.ndim != 1 or values.dtype.kind not in "iu":
        raise UserError(f"found {values.dtype} {values.shape}, expected one whole number for each frame; {again}")
    if len(values) and int(values.max()) > _LARGEST_LABEL:
        raise UserError(f"found the label {values.max()}, expected at most {_LARGEST_LABEL}; {again}")
    return stored, values
