"""Reading stored soft targets against the student's training step that uses them, and against asking the ensemble again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from asr_distill.bench.configuration import SoftTargetCase, TrainingCase
from asr_distill.bench.frames import write_random_store
from asr_distill.bench.pairs import compare, interleave
from asr_distill.bench.training import ResidentSteps, training_config
from asr_distill.distillation import SoftTargetStore, combine_posteriors, soften, sparse_distillation_loss
from asr_distill.models import count_parameters
from asr_distill.training import FrameExamples
from asr_distill.training.precision import precision

READ, MAPPED, DENSE, LOSS, STEP, ENSEMBLE = "read", "read_mapped", "read_dense", "read_to_loss", "step", "ensemble"
SIDES = {
    READ: "random rows of a topk store that lies in memory: gathered, unpacked, softened to T, as the sparse loss takes them",
    MAPPED: "the same from the mapped files (which the page cache holds)",
    DENSE: "the same as READ, and spread over all classes, (N, C), as the dense loss takes them",
    LOSS: "the same as READ, and taken through the sparse loss to the gradient of the student's logits, where tails are spread",
    STEP: "a training step of the student on one batch that lies in memory: forward, loss, backward, optimiser",
    ENSEMBLE: "as many forward passes of the student's network as the ensemble has members, combined and softened to T",
}
_CUT_FRAMES, _REPEATS = 1000, 10
_CPU = torch.device("cpu")


def bench_soft_targets(case: SoftTargetCase, folder: str | Path, *, threads: int, seed: int = 0) -> dict[str, Any]:
    """Frames per second read and softened, over those of the student's step and of the ensemble; bytes per frame on disk.

    folder: for the stores, of random frames and random posteriors.
    """
    folder = Path(folder)
    network = TrainingCase(case.name, case.config, case.settings, case.num_senones, case.frames)
    config = training_config(network, threads, seed)
    examples = FrameExamples(write_random_store(folder / "store", case.frames, case.num_senones, seed), case.num_senones)
    steps = ResidentSteps(config, examples)
    path = _random_targets(folder / "soft_targets", case, seed)
    store, mapped = SoftTargetStore.open(path), SoftTargetStore.open(path, resident_bytes=0)
    generator = torch.Generator().manual_seed(seed)

    def reading(read: Callable[[torch.Tensor, float], object]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(_REPEATS * case.block_steps):
                read(torch.randint(store.num_frames, (config.batch_size,), generator=generator), case.temperature)

        return work

    logits = torch.randn(config.batch_size, case.num_senones, generator=generator).requires_grad_()

    def to_the_loss(rows: torch.Tensor, temperature: float) -> None:
        targets = store.sparse_targets(rows, temperature)
        loss = sparse_distillation_loss(logits, targets, temperature=temperature, soft_weight=1.0, hard_weight=0.0)
        torch.autograd.grad(loss, logits)

    def ensemble() -> None:
        for _ in range(case.block_steps):
            _ask_ensemble(steps, case.members, case.temperature)

    works = {
        READ: reading(store.sparse_targets),
        MAPPED: reading(mapped.sparse_targets),
        DENSE: reading(store.targets),
        LOSS: reading(to_the_loss),
        STEP: lambda: steps.run(case.block_steps),
        ENSEMBLE: ensemble,
    }
    seconds = interleave(works, case.pairs)
    for name in (READ, MAPPED, DENSE, LOSS):
        seconds[name] = [value / _REPEATS for value in seconds[name]]
    amount = case.block_steps * config.batch_size
    rows = {
        f"{ours}_vs_{reference}": {
            **compare(seconds, ours, reference, amount, "frame", case.goal if (ours, reference) == (READ, STEP) else None),
            "ours_is": SIDES[ours],
            "reference_is": SIDES[reference],
        }
        for ours, reference in ((READ, STEP), (MAPPED, STEP), (LOSS, STEP), (DENSE, STEP), (READ, ENSEMBLE))
    }
    shards = sum(file.stat().st_size for file in path.glob("shard-*"))
    return {
        "case": case.name,
        "batch_size": config.batch_size,
        "threads": threads,
        "parameters": count_parameters(steps.network),
        "senones": case.num_senones,
        "members": case.members,
        "top_k": case.top_k,
        "tail_rank": store.encoding.tail_rank,
        "temperatures": list(store.temperatures),
        "temperature": case.temperature,
        "precision": "bf16" if steps.bf16 else "float32",
        "frames": store.num_frames,
        "bytes_per_frame": shards / store.num_frames,
        "bytes_once": sum(file.stat().st_size for file in path.iterdir()) - shards,
        **rows,
    }


@torch.no_grad()
def _ask_ensemble(steps: ResidentSteps, members: int, temperature: float) -> torch.Tensor:
    """One network asked again and again: what it costs does not depend on which weights it has."""
    answers = []
    for _ in range(members):
        with precision(steps.bf16, _CPU):
            logits = steps.network(steps.inputs)
        answers.append(torch.log_softmax(logits.float(), dim=1))
    return soften(combine_posteriors(answers), temperature)


def _random_targets(path: Path, case: SoftTargetCase, seed: int) -> Path:
    """A topk store of random posteriors; what reading costs does not depend on what they say."""
    generator = torch.Generator().manual_seed(seed)
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"num_classes": case.num_senones, "senones_hash": None, "teacher": {"random": seed}}
    options.update(top_k=case.top_k, tail_rank=case.tail_rank, shard_frames=case.shard_frames)
    with SoftTargetStore.create(path, mode="topk", **options) as writer:
        for start in range(0, case.frames, _CUT_FRAMES):
            logits = 3 * torch.randn(min(_CUT_FRAMES, case.frames - start), case.num_senones, generator=generator)
            writer.add(f"random-{seed}-{start:09d}", torch.log_softmax(logits, dim=1))
    return path
