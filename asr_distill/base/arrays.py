"""Arrays on disk, numpy's files and safetensors: written whole, and compared with their digest before a library reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING

from asr_distill.base.digests import check_file
from asr_distill.base.errors import UserError
from asr_distill.base.replace import atomic_path

if TYPE_CHECKING:
    import numpy as np

_MOST_OF_NOTHING = 1 << 40  # rows of no columns, or columns of no rows, that a header may name without a byte behind it
_AGAIN = "copy it again or run the stage that writes it"


def write_array(path: str | Path, array: np.ndarray, *, listed: bool = False) -> None:
    """Writes a numpy file atomically; ``listed`` as in `atomic_path`."""
    import numpy as np

    with atomic_path(path, listed=listed) as temporary, open(temporary, "wb") as stream:
        np.save(stream, array, allow_pickle=False)


def read_array(
    path: str | Path,
    shape: tuple[int, ...] | None = None,
    dtype: str | None = None,
    *,
    mapped: bool = False,
    checked: bool = True,
    again: str = _AGAIN,
) -> np.ndarray:
    """Reads a numpy file into memory, or, ``mapped``, maps it read-only. Nothing in it is run.

    ``checked``: its digest is compared before; a large file that is mapped may leave that to its first use (`check_file`).
    Raises `UserError` where it is missing, damaged, or not of the ``shape`` and ``dtype`` that are given; ``again`` ends its
    message with what to do.
    """
    import numpy as np
    from numpy.lib.format import read_magic

    if checked:
        check_file(path)
    try:
        with open(path, "rb") as stream:
            read_magic(stream)  # else numpy takes it for a zip file or a pickle
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # fails where the file is shorter than its header says
        if array.dtype.kind not in "biuf" or not array.dtype.itemsize:
            raise ValueError(f"it holds {array.dtype}, expected numbers")
        if array.nbytes == 0 and max(array.shape, default=0) > _MOST_OF_NOTHING:
            raise ValueError(f"shape {array.shape}")
    except (OSError, ValueError, OverflowError, TypeError, SyntaxError, TokenError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}), expected a whole numpy file; {again}") from None
    wanted_shape, wanted_dtype = array.shape if shape is None else shape, array.dtype if dtype is None else np.dtype(dtype)
    if array.shape != wanted_shape or array.dtype != wanted_dtype:
        raise UserError(f"{path} holds {array.dtype} {array.shape}, expected {wanted_dtype} {wanted_shape}; {again}")
    return array if mapped else np.array(array)


def write_tensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str] | None = None, *, listed: bool = False
) -> None:
    """Writes numpy arrays by name, and ``facts`` in the header, as safetensors; atomically, ``listed`` as in `atomic_path`."""
    import numpy as np
    from safetensors.numpy import save_file

    with atomic_path(path, listed=listed) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, temporary, dict(facts or {}) or None)


def read_tensors(path: str | Path, *, again: str = _AGAIN) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and facts of what `write_tensors` wrote.

    Raises `UserError` where the file is missing, damaged or no safetensors; ``again`` ends its message with what to do.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with safe_open(str(path), "numpy") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}, stream.metadata() or {}  # noqa: SIM118  # no mapping
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {again}") from None
    except (
        OSError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:  # the last of types unknown to numpy
        raise UserError(f"{path} is not a whole safetensors file ({error}); {again}") from None
