"""The training loop against the same steps on a batch that lies ready, and against its matrix products alone.

The loop measured is `asr_distill.training.train_model` itself, untouched: the examples handed to it stop the clock each time a
block of steps is done, let each reference do as many steps, and go on. So all sides share one process, one thread pool and
one minute of the machine.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from asr_distill.base import from_mapping, to_mapping
from asr_distill.bench.configuration import TrainingCase
from asr_distill.bench.frames import write_random_store
from asr_distill.bench.memory import peak_memory
from asr_distill.bench.pairs import compare
from asr_distill.data import FrameStore
from asr_distill.models import apply_max_norm, build_network, complete_network_config, count_parameters
from asr_distill.training import Examples, FrameExamples, TrainingConfig, load_training_config, train_model
from asr_distill.training.memory import keep_freed_memory
from asr_distill.training.optimisation import build_optimiser, clip_gradients
from asr_distill.training.precision import choose_bf16, precision

LOOP, RESIDENT, PRODUCTS = "loop", "resident", "products"
_CPU = torch.device("cpu")
SIDES = {
    LOOP: "train_model: shuffled order, windows gathered from the frame store, forward, loss, frame counts, backward,"
    " optimiser, schedule, checks of the loss",
    RESIDENT: "the same network, precision, clipping and optimiser on one batch that lies in memory: forward, loss, backward,"
    " optimiser",
    PRODUCTS: "the matrix products of forward and backward alone, same shapes and dtype, into memory that is there already",
}


def bench_training(
    case: TrainingCase, folder: str | Path, *, threads: int, seed: int = 0, store: str | Path | None = None
) -> dict[str, Any]:
    """Frames per second of the loop and both ratios for one network size, with the peak memory of each side.

    folder: for the synthetic store, if none is given, and the models. store: a frame store with labels to train on instead.
    """
    folder = Path(folder)
    frames = (
        FrameStore.open(store)
        if store is not None
        else write_random_store(folder / "store", case.frames, case.num_senones, seed)
    )
    config = training_config(case, threads, seed)
    examples = FrameExamples(frames, _num_senones(frames, case), config.window)
    resident, products = ResidentSteps(config, examples), MatrixProducts(config, examples)
    turns = TurnTaking(
        *(examples, config.batch_size, case.block_steps, case.pairs),
        {RESIDENT: lambda: resident.run(case.block_steps), PRODUCTS: lambda: products.run(case.block_steps)},
    )
    with tempfile.TemporaryDirectory(dir=folder) as out:
        train_model(config, turns, None, out)
    amount = case.block_steps * config.batch_size
    shared = {
        "case": case.name,
        "batch_size": config.batch_size,
        "threads": threads,
        "parameters": count_parameters(resident.network),
        "senones": examples.num_classes,
        "network": dict(config.network),
        "optimizer": config.optimizer,
        "precision": "bf16" if resident.bf16 else "float32",
        "steps_per_turn": case.block_steps,
        "data": "given store" if store is not None else "random frames",
    }
    rows = [
        {**compare(turns.seconds, LOOP, name, amount, "frame", goal), "ours_is": SIDES[LOOP], "reference_is": SIDES[name]}
        for name, goal in ((RESIDENT, case.goal_resident), (PRODUCTS, case.goal_matmul))
    ]
    settings = {"case": to_mapping(case), "store": str(frames.path), "threads": threads, "seed": seed}
    memory = {name: peak_memory(f"train_{'matmul' if name == PRODUCTS else name}", settings) for name in SIDES}
    gflops = rows[1]["reference"] * shared["parameters"] * 6 / 1e9
    return {**shared, "vs_resident": rows[0], "vs_matmul": rows[1], "matmul_gflops": gflops, "memory": memory}


def training_config(case: TrainingCase, threads: int, seed: int) -> TrainingConfig:
    """The case's training configuration: one epoch on the CPU, without TensorBoard and dev set, no checkpoint by the clock."""
    config = load_training_config(case.config, case.settings)
    fixed: dict[str, Any] = {
        "epochs": 1,
        "threads": threads,
        "seed": seed,
        "device": "cpu",
        "tensorboard": False,
        "patience": None,
    }
    schedule = "constant" if config.schedule == "newbob" else config.schedule
    return replace(config, **fixed, schedule=schedule, checkpoint_minutes=1e6)


class TurnTaking:
    """Examples that hand the loop ``block_steps`` batches, then give each reference its turn; seconds by name."""

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        block_steps: int,
        pairs: int,
        references: Mapping[str, Callable[[], object]],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.examples, self.block_steps, self.pairs, self.references, self.clock = (
            examples,
            block_steps,
            pairs,
            references,
            clock,
        )
        self.num_classes, self.input_dim = examples.num_classes, examples.input_dim
        self.num_examples = (pairs + 1) * block_steps * batch_size
        self.seconds: dict[str, list[float]] = {name: [] for name in (LOOP, *references)}

    def order(self, batch_size: int, seed: int, epoch: int, start_step: int) -> Iterator[torch.Tensor]:
        """Full batches only, epoch after epoch of the real order, with the references' turns in between."""
        orders = (self.examples.order(batch_size, seed, number, 0) for number in itertools.count(epoch))
        batches = (batch for order in orders for batch in order if len(batch) == batch_size)
        for turn in range(self.pairs + 1):
            start = self.clock()
            yield from itertools.islice(batches, self.block_steps)
            self._note(turn, LOOP, start)  # the loop has asked for the next batch: its last step is done
            for name, work in self.references.items():
                start = self.clock()
                work()
                self._note(turn, name, start)

    def _note(self, turn: int, name: str, start: float) -> None:
        if turn:  # the first turn warms up
            self.seconds[name].append(self.clock() - start)

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """As the examples give it."""
        return self.examples.batch(indices, generator)

    def describe(self) -> dict[str, Any]:
        """As the examples give it."""
        return self.examples.describe()


class ResidentSteps:
    """Training steps on one batch that is in memory: what the loop could do if data, order and records cost nothing."""

    def __init__(self, config: TrainingConfig, examples: Examples) -> None:
        self.config, self.bf16 = config, choose_bf16(config.autocast, _CPU)
        network_config = complete_network_config(config.network, examples.num_classes, examples.input_dim)
        self.network = build_network(network_config, torch.Generator().manual_seed(config.seed)).train()
        self.optimiser = build_optimiser(config, self.network)
        first = next(examples.order(config.batch_size, config.seed, 0, 0))
        batch = examples.batch(first)
        self.inputs, self.labels = batch["inputs"].clone(), batch["labels"].clone()

    def run(self, steps: int) -> None:
        """So many steps."""
        for _ in range(steps):
            with precision(self.bf16, _CPU):
                logits = self.network(self.inputs)
            loss = functional.cross_entropy(logits.float(), self.labels)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if self.config.clip_norm is not None:
                clip_gradients(self.network, self.config.clip_norm)
            self.optimiser.step()
            if self.config.max_norm is not None:
                apply_max_norm(self.network, self.config.max_norm)


class MatrixProducts:
    """For every linear layer: outputs, gradients of inputs (not of the first layer's) and of weights, and nothing else."""

    def __init__(self, config: TrainingConfig, examples: Examples) -> None:
        network_config = complete_network_config(config.network, examples.num_classes, examples.input_dim)
        network = build_network(network_config, torch.Generator().manual_seed(config.seed))
        dtype = torch.bfloat16 if choose_bf16(config.autocast, _CPU) else torch.float32
        self._layers = []
        for layer in (module for module in network.modules() if isinstance(module, nn.Linear)):
            inputs = torch.randn(config.batch_size, layer.in_features).to(dtype)
            gradients = torch.randn(config.batch_size, layer.out_features).to(dtype)
            weight = layer.weight.detach().to(dtype)
            results = (torch.empty_like(gradients), torch.empty_like(inputs), torch.empty_like(weight))
            self._layers.append((inputs, gradients, weight, results))

    def run(self, steps: int) -> None:
        """So many forward and backward passes."""
        for _ in range(steps):
            for inputs, _, weight, (outputs, _, _) in self._layers:
                torch.mm(inputs, weight.t(), out=outputs)
            for number, (inputs, gradients, weight, (_, input_gradients, weight_gradients)) in reversed(
                list(enumerate(self._layers))
            ):
                torch.mm(gradients.t(), inputs, out=weight_gradients)
                if number:
                    torch.mm(gradients, weight, out=input_gradients)


def _num_senones(store: FrameStore, case: TrainingCase) -> int:
    return int(store.meta.get("num_senones") or max(case.num_senones, int(store.labels.max()) + 1))


def _parts(case: dict[str, Any], store: str, threads: int, seed: int) -> tuple[TrainingCase, TrainingConfig, FrameExamples]:
    chosen = from_mapping(TrainingCase, case)
    frames, config = FrameStore.open(store), training_config(chosen, threads, seed)
    torch.set_num_threads(threads)
    return chosen, config, FrameExamples(frames, _num_senones(frames, chosen), config.window)


def loop_alone(case: dict[str, Any], store: str, threads: int, seed: int) -> None:
    """A few steps of the loop, for its memory."""
    chosen, config, examples = _parts(case, store, threads, seed)
    with tempfile.TemporaryDirectory() as out:
        train_model(config, TurnTaking(examples, config.batch_size, min(chosen.block_steps, 3), 1, {}), None, out)


def resident_alone(case: dict[str, Any], store: str, threads: int, seed: int) -> None:
    """A few resident steps, for their memory."""
    keep_freed_memory()
    _, config, examples = _parts(case, store, threads, seed)
    ResidentSteps(config, examples).run(2)


def products_alone(case: dict[str, Any], store: str, threads: int, seed: int) -> None:
    """The matrix products once, for their memory."""
    _, config, examples = _parts(case, store, threads, seed)
    MatrixProducts(config, examples).run(1)
