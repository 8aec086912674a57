"""What a teacher says about the cuts of a frame store, several short cuts at a time: in bf16 each call converts the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from asr_distill.data import FrameStore, WindowGatherer
from asr_distill.data.frame_store import StoredCut
from asr_distill.student.ensemble import Ensemble
from asr_distill.student.student import Student

BLOCK_FRAMES = 4096


def cut_blocks(cuts: Iterable[StoredCut], block_frames: int = BLOCK_FRAMES) -> Iterator[list[StoredCut]]:
    """Consecutive cuts of at most ``block_frames`` frames together; a longer cut is a block of its own."""
    block: list[StoredCut] = []
    frames = 0
    for cut in cuts:
        length = cut.end - cut.start
        if block and frames + length > block_frames:
            yield block
            block, frames = [], 0
        block.append(cut)
        frames += length
    if block:
        yield block


def stored_posteriors(
    teacher: Student,
    store: FrameStore,
    cuts: Sequence[StoredCut],
    done: Callable[[str], bool] = lambda cut_id: False,
    block_frames: int = BLOCK_FRAMES,
) -> Iterator[tuple[StoredCut, torch.Tensor]]:
    """Yields each cut with its log-posteriors ``(T, C)`` float32 on the CPU, in order; cuts that are ``done`` are left out.

    Where the ensemble has folds a cut's are of the members that did not train on it. Which cuts go through the network
    together follows from ``cuts`` alone, so that no bit depends on where a stopped writer went on. Raises what
    `Ensemble.members_for` and `Student.log_posteriors` raise.
    """
    gatherer = WindowGatherer(store, teacher.window.left, teacher.window.right, teacher.device)
    for block in cut_blocks(cuts, block_frames):
        if all(done(cut.id) for cut in block):
            continue
        found = _block_posteriors(teacher, gatherer, block)
        yield from ((cut, found[cut.id]) for cut in block if not done(cut.id))


def _block_posteriors(teacher: Student, gatherer: WindowGatherer, block: Sequence[StoredCut]) -> dict[str, torch.Tensor]:
    groups: dict[tuple[int, ...], list[StoredCut]] = {}
    for cut in block:
        members = teacher.members_for(cut.id, cut.speaker) if isinstance(teacher, Ensemble) else ()
        groups.setdefault(tuple(members), []).append(cut)
    found: dict[str, torch.Tensor] = {}
    for together in groups.values():
        inputs = gatherer.gather(torch.cat([torch.arange(cut.start, cut.end) for cut in together]))
        rows = teacher.log_posteriors_for(together[0].id, together[0].speaker, inputs, normalised=True)
        found.update(zip((cut.id for cut in together), rows.split([cut.end - cut.start for cut in together]), strict=True))
    return found
