"""A graph in k2's form with every path in it: a search may keep the best of two parallel arcs, a sum must keep both."""

from __future__ import annotations

import dataclasses

import numpy as np

from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.k2_form import K2Form, to_k2_form


def form_of_all_paths(fst: FstArrays) -> K2Form:
    """`to_k2_form` of an acceptor (senone + 1 read, nothing written) without the choice among parallel arcs.

    Every arc writes a number of its own while epsilons are removed, for arcs that write differently are never merged.
    Raises `UserError` as `to_k2_form` does.
    """
    emitting = fst.ilabel > 0
    numbered = np.where(emitting, np.cumsum(emitting), 0).astype(np.int32)
    form = to_k2_form(dataclasses.replace(fst, olabel=numbered), int(emitting.sum()))
    return K2Form(form.arcs, form.scores, np.where(form.aux < 0, -1, 0).astype(np.int32), 0, ())
