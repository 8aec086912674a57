"""Exact Viterbi over many utterances at once: padded state graphs, one tensor step per frame for the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from asr_distill.alignment.state_graph import StateGraph


@dataclass(frozen=True, eq=False)
class BestPath:
    """The states ``(T,)`` int64 of the best path, and its score: graph log-probabilities + scaled acoustic scores."""

    states: np.ndarray
    score: float


def best_paths(
    graphs: Sequence[StateGraph],
    log_likelihoods: Sequence[torch.Tensor],
    *,
    acoustic_scale: float = 1.0,
    device: str | torch.device = "cpu",
) -> list[BestPath | None]:
    """The best path through each graph, exactly (no beam); None where no path has as many frames, or all scores are -inf.

    Args:
        graphs: N state graphs.
        log_likelihoods: N tensors ``(T_n, C)``; columns are senones.

    Scores are summed in float64, so that the result doesn't depend on what else is in the batch.
    """
    results: list[BestPath | None] = [None] * len(graphs)
    busy = [i for i, graph in enumerate(graphs) if len(graph.senones) and len(log_likelihoods[i]) >= max(1, graph.min_frames)]
    if not busy:
        return results
    lengths = torch.tensor([len(log_likelihoods[i]) for i in busy], device=device)
    emissions = _pad([_emissions(log_likelihoods[i], graphs[i], acoustic_scale, device) for i in busy])
    initial, final, before, weight = _pack([graphs[i] for i in busy], device)
    count, most, size = emissions.shape
    alpha = initial + emissions[:, 0]
    choices = torch.zeros((most, count, size), dtype=torch.uint8 if before.shape[2] < 256 else torch.int32, device=device)
    flat = before.view(count, -1)
    for frame in range(1, most):
        candidates = torch.gather(alpha, 1, flat).view(before.shape) + weight
        best, choice = candidates.max(2)
        choices[frame] = choice.to(choices.dtype)
        alpha = torch.where((lengths > frame).unsqueeze(1), best + emissions[:, frame], alpha)
    score, state = (alpha + final).max(1)
    path = torch.zeros((most, count), dtype=torch.int64, device=device)
    rows = torch.arange(count, device=device)
    for frame in range(most - 1, -1, -1):
        path[frame] = state
        previous = before[rows, state, choices[frame][rows, state].long()]
        state = torch.where((lengths > frame) & (frame > 0), previous, state)
    for row, i in enumerate(busy):
        if torch.isfinite(score[row]):
            results[i] = BestPath(path[: int(lengths[row]), row].cpu().numpy(), float(score[row]))
    return results


def _emissions(scores: torch.Tensor, graph: StateGraph, scale: float, device: str | torch.device) -> torch.Tensor:
    return scores.to(device, torch.float64)[:, torch.from_numpy(graph.senones).to(device)] * scale


def _pad(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """``(N, T, S)`` with zeros behind each end; a padded state is never reached, for no arc leads to it."""
    shape = (len(tensors), max(t.shape[0] for t in tensors), max(t.shape[1] for t in tensors))
    padded = tensors[0].new_zeros(shape)
    for row, tensor in enumerate(tensors):
        padded[row, : tensor.shape[0], : tensor.shape[1]] = tensor
    return padded


def _pack(
    graphs: Sequence[StateGraph], device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Initial and final ``(N, S)``; predecessors and their arcs' weights ``(N, S, P)``, -inf where there is none."""
    size = max(len(graph.senones) for graph in graphs)
    degree = max(int(np.bincount(graph.destination, minlength=1).max()) for graph in graphs)
    initial, final = np.full((2, len(graphs), size), -np.inf)
    before = np.zeros((len(graphs), size, max(degree, 1)), dtype=np.int64)
    weight = np.full(before.shape, -np.inf)
    for row, graph in enumerate(graphs):
        initial[row, : len(graph.initial)], final[row, : len(graph.final)] = graph.initial, graph.final
        order = np.argsort(graph.destination, kind="stable")
        destination = graph.destination[order]
        rank = np.arange(len(order)) - np.searchsorted(destination, destination)
        before[row, destination, rank] = graph.source[order]
        weight[row, destination, rank] = graph.weight[order]
    return tuple(torch.from_numpy(array).to(device) for array in (initial, final, before, weight))  # type: ignore[return-value]
