"""A numpy file written from its beginning to its end: where the disk is full that is an error, and not a mapping's SIGBUS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from asr_distill.base import UserError


@contextmanager
def array_stream(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields a function that appends rows to the array of this ``shape`` and ``dtype`` in the ``.npy`` file ``path``.

    Raises `UserError` where other than ``shape[0]`` rows came, and the function where rows are of another shape.
    """
    done = 0
    with open(path, "wb") as stream:
        npy.write_array_header_1_0(
            stream, {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        )

        def append(rows: np.ndarray) -> None:
            nonlocal done
            if rows.shape[1:] != shape[1:]:
                raise UserError(f"{path.name}: rows of shape {rows.shape[1:]}, expected {shape[1:]}")
            stream.write(np.ascontiguousarray(rows, dtype=dtype).data)
            done += len(rows)

        yield append
    if done != shape[0]:
        raise UserError(f"{path.name}: {done} rows came, expected {shape[0]}")
