"""Which setting of a search is taken: the one with the fewest errors, and on few words one that others like it agree with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEW_WORDS = 200
"""Reference words below which an error more or less is chance: many settings then have the same number of them."""


def best_setting(errors: Sequence[float], not_final: Sequence[int], num_scales: int, num_words: int) -> int:
    """The number of the setting to take, out of graphs times ``num_scales`` acoustic scales, scales within a graph.

    The fewest errors, then the fewest utterances ``not_final``, then the first. Of ``num_words`` below `FEW_WORDS` the first of
    equals is often the last before errors begin: there, the one in the midst of the others. Its neighbours in the grid, then
    theirs, have the fewest errors; beyond the edge of the grid are more than anywhere in it.
    """
    table = np.asarray(errors, dtype=np.float64).reshape(-1, num_scales)
    best = min(zip(errors, not_final, strict=True))
    tied = [i for i, found in enumerate(zip(errors, not_final, strict=True)) if found == best]
    if num_words >= FEW_WORDS:
        return tied[0]
    for radius in range(1, max(table.shape)):
        padded = np.pad(table, radius, constant_values=table.max() + 1)
        width = 2 * radius + 1
        sums = np.lib.stride_tricks.sliding_window_view(padded, (width, width)).sum(axis=(2, 3)).ravel()
        least = min(sums[i] for i in tied)
        tied = [i for i in tied if sums[i] <= least + 1e-9]
    return tied[0]
