"""A share of a store's utterances, the same for everybody, each share within the larger ones."""

from __future__ import annotations

import hashlib
import re

import numpy as np

from asr_distill.base import UserError
from asr_distill.data.frame_store import FrameStore

# What lhotse appends to the id of a cut that it perturbs.
_PERTURBED = re.compile(r"(_(sp|vp|tp)[0-9.]+)+$")


def original_id(cut_id: str) -> str:
    """The id of the utterance that a cut is a perturbed copy of; the id itself for any other cut."""
    return _PERTURBED.sub("", cut_id)


def frames_of_share(store: FrameStore, share: float) -> np.ndarray:
    """Frames ``(M,)`` int64 of ``share`` (0 to 1) of the utterances, in order, perturbed copies with their originals.

    Utterances are ranked by the SHA-256 of their id, so that a share doesn't depend on their order, and a smaller share is
    part of a larger one. At least one utterance is chosen. Raises `UserError` for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise UserError(f"a share of {share} of the utterances: expected above 0 and at most 1, such as 0.03 for 3 %")
    originals = [original_id(cut_id) for cut_id in store.cut_ids]
    ranked = sorted(set(originals), key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen = set(ranked[: max(1, round(share * len(ranked)))])
    spans = [(cut.start, cut.end) for cut, original in zip(store, originals, strict=True) if original in chosen]
    return np.concatenate([np.arange(start, end) for start, end in spans]).astype(np.int64)
