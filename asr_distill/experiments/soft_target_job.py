"""Store what a teacher says about every frame of a frame store, once, for any student."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr_distill.base import check_space, hash_of_object, track

if TYPE_CHECKING:
    from asr_distill.data import FrameStore
    from asr_distill.data.frame_store import StoredCut
    from asr_distill.distillation.soft_target_modes import Encoding

TargetMode = Literal["dense", "topk", "sampled"]


@dataclass(frozen=True)
class SoftTargetJob:
    """A store of soft targets; one that was begun is continued.

    Args:
        teacher: bundle or ensemble.
        frames: frame store, normalised as the teacher's.
        output: the store's folder.
        mode: ``dense`` holds all classes, ``topk`` the k best and a tail, ``sampled`` draws at one temperature.
        top_k, tail_rank: of topk: classes kept, and bytes that say how the tail is spread.
        num_samples: of sampled.
        temperatures: at which topk can be read, or the one at which sampled draws; by default the library's.
        shard_frames: frames of a shard, at which a stopped writer continues.
        seed: of the draws.
        device, autocast: where the teacher is asked, and its precision.
    """

    teacher: Path
    frames: Path
    output: Path
    mode: TargetMode = "topk"
    top_k: int | None = None
    tail_rank: int | None = None
    num_samples: int | None = None
    temperatures: tuple[float, ...] | None = None
    shard_frames: int | None = None
    seed: int = 0
    device: str = "cpu"
    autocast: Literal["auto", "bf16", "off"] = "off"

    def run(self) -> dict[str, Any]:
        """Write what is missing of the store; returns its counts, sizes and hash. The estimated size is logged first."""
        from asr_distill.data import FrameStore
        from asr_distill.distillation import SoftTargetStore
        from asr_distill.distillation.soft_target_modes import estimate
        from asr_distill.student.ensemble import load_model
        from asr_distill.student.stored_posteriors import stored_posteriors
        from asr_distill.student.teachers import check_frames

        teacher = load_model(self.teacher, device=self.device, autocast=self.autocast)
        frames = FrameStore.open(self.frames)
        check_frames(teacher, frames)
        options = self._options()
        sizes = estimate(encodings(self.mode, teacher.num_senones, **options), frames.num_frames)
        for line in sizes_as_text(sizes, teacher.num_senones).splitlines():
            logging.getLogger("asr_distill").info("%s", line)
        writer = SoftTargetStore.create(
            self.output,
            mode=self.mode,
            num_classes=teacher.num_senones,
            senones_hash=teacher.inventory.hash,
            teacher={**teacher.describe(), "autocast": self.autocast},
            **options,
            source={"frames": frames.hash},
            frames=frames.identity,
            shard_frames=self.shard_frames,
            seed=self.seed,
        )
        start, written = time.perf_counter(), 0
        with writer:
            cuts = _in_order(frames, self.mode)
            left = sum(cut.end - cut.start for cut in cuts if not writer.done(cut.id))
            check_space(self.output, left * writer.encoding.bytes_per_frame, "what is left of the soft targets")
            found = stored_posteriors(teacher, frames, cuts, writer.done)
            waiting = sum(not writer.done(cut.id) for cut in cuts)
            for cut, posteriors in track(found, f"soft targets {self.output}", waiting, "cuts"):
                writer.add(cut.id, posteriors)
                written += cut.end - cut.start
        seconds = time.perf_counter() - start
        store = SoftTargetStore.open(self.output, resident_bytes=0)
        return {
            "store": str(self.output),
            "mode": store.mode,
            "cuts": len(store),
            "frames": store.num_frames,
            "frames_written_now": written,
            "frames_per_second": written / seconds if written else None,
            "bytes_per_frame": store.bytes_per_frame,
            "bytes": sum(file.stat().st_size for file in self.output.iterdir()),
            "senones_hash": store.senones_hash,
            "hash": store.hash,
        }

    def _options(self) -> dict[str, Any]:
        from asr_distill.distillation.soft_target_modes import NUM_SAMPLES, TAIL_RANK, TEMPERATURES, TOP_K

        return {
            "temperatures": list(TEMPERATURES if self.temperatures is None else self.temperatures),
            "top_k": TOP_K if self.top_k is None else self.top_k,
            "tail_rank": TAIL_RANK if self.tail_rank is None else self.tail_rank,
            "num_samples": NUM_SAMPLES if self.num_samples is None else self.num_samples,
        }


def encodings(
    chosen: str, num_classes: int, temperatures: list[float], top_k: int, tail_rank: int, num_samples: int
) -> list[Encoding]:
    """Return one encoding of each mode, the chosen one first."""
    from asr_distill.distillation.soft_target_modes import MODES, Encoding

    return [
        Encoding.choose(
            mode,
            num_classes,
            temperatures[:1] if mode == "sampled" else temperatures,
            top_k=top_k,
            num_samples=num_samples,
            tail_rank=tail_rank,
        )
        for mode in sorted(MODES, key=lambda mode: mode != chosen)
    ]


def sizes_as_text(rows: list[dict[str, Any]], num_classes: int) -> str:
    """Return what `estimate` found as columns: mode, bytes per frame and in all."""
    lines = [
        f"{rows[0]['frames']} frames of {num_classes} classes",
        f"{'mode':<8} {'bytes per frame':>16} {'in all':>14}  holds",
    ]
    for row in rows:
        total = f"{row['bytes'] / 1e9:,.3f} GB"
        held = {
            "topk": f"k = {row['top_k']}, tail of rank {row['tail_rank']}",
            "sampled": f"{row['num_samples']} draws",
            "dense": "every class",
        }[row["mode"]]
        known = row["temperatures"]
        at = "any T" if known == "any" else f"T = {', '.join(f'{value:g}' for value in known)}"
        lines.append(f"{row['mode']:<8} {row['bytes_per_frame']:>16,} {total:>14}  {held}, {at}")
    return "\n".join(lines)


def _in_order(frames: FrameStore, mode: str) -> list[StoredCut]:
    """Return the cuts; for ``topk`` shuffled by their ids, since the shape of the tail is found from the first of them."""
    return sorted(frames, key=lambda cut: hash_of_object(cut.id)) if mode == "topk" else list(frames)
