"""Predictions of the generalist and of the specialists that it calls, made one (Eq. 5 of the paper).

For each row, A_k are the specialists whose classes include one of the generalist's ``top_n`` most probable. Sought is

    q = argmin KL(p_g, q) + sum over m in A_k of KL(p_m, q),    q = softmax(z),

where p_m is a distribution over the classes of specialist m and its dustbin, and q in KL(p_m, q) is summed over the classes
outside m to be compared with the dustbin. ``divergence="reverse"`` minimises KL(q, p_g) + sum KL(q, p_m) instead.

Open ``reduction.py`` for what makes this small, then ``solvers.py`` for the two ways to the minimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import torch

from asr_distill.base import UserError
from asr_distill.specialists.clustering import check_class_ids
from asr_distill.specialists.reduction import FLOOR, Divergence, reduce_rows
from asr_distill.specialists.solvers import Solver, solve

Specialist = tuple[Any, torch.Tensor]  # class ids (m,), log-probabilities (N, m + 1) with the dustbin last
_DEFAULT_ITERATIONS = {"fixed_point": 10_000, "gradient": 50_000}
_DEFAULT_TOLERANCE = {"fixed_point": 1e-8, "gradient": 1e-6}
_ROWS = 1024  # rows that are combined at once


@dataclass(frozen=True)
class CombineInfo:
    """How a combination went, row by row, all (N,).

    active: the number of active specialists, int64. iterations: of the solver, int64, 0 for rows without a specialist.
    excess: float64, nats, by which the objective is above its minimum at most. residual: float64, how far the next step of the
    fixed point would move q, as a sum of absolute differences. converged: bool.
    """

    active: torch.Tensor
    iterations: torch.Tensor
    excess: torch.Tensor
    residual: torch.Tensor
    converged: torch.Tensor


@overload
def combine(
    generalist_log_probs: torch.Tensor,
    specialists: Sequence[Specialist],
    top_n: int = ...,
    *,
    divergence: Divergence = ...,
    solver: Solver = ...,
    tolerance: float | None = ...,
    max_iterations: int | None = ...,
    return_info: Literal[False] = ...,
) -> torch.Tensor: ...


@overload
def combine(
    generalist_log_probs: torch.Tensor,
    specialists: Sequence[Specialist],
    top_n: int = ...,
    *,
    divergence: Divergence = ...,
    solver: Solver = ...,
    tolerance: float | None = ...,
    max_iterations: int | None = ...,
    return_info: Literal[True],
) -> tuple[torch.Tensor, CombineInfo]: ...


def combine(
    generalist_log_probs: torch.Tensor,
    specialists: Sequence[Specialist],
    top_n: int = 1,
    *,
    divergence: Divergence = "forward",
    solver: Solver = "fixed_point",
    tolerance: float | None = None,
    max_iterations: int | None = None,
    return_info: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, CombineInfo]:
    """Normalised log-probabilities ``(N, C)`` of the generalist and the specialists together, in the generalist's dtype.

    generalist_log_probs: (N, C), normalised. specialists: for each, its class ids (m,) and its log-probabilities (N, m + 1),
      the dustbin last, at T = 1; rows in which it is not active are not read (`active_specialists` tells them beforehand).
    top_n: of the generalist's classes, each calls the specialists that know it.
    divergence: ``forward`` is the paper's KL(p, q), whose mean is arithmetic; ``reverse`` is KL(q, p), whose mean is geometric.
    solver: ``fixed_point`` shares each dustbin's mass in proportion to q until nothing moves, monotone and with a bound on
      what is left; ``gradient`` descends on the logits, as the paper does.
    tolerance: of ``fixed_point``, the nats by which the objective may exceed its minimum (default 1e-8); of ``gradient``, whose
      small probabilities hardly move, the residual (default 1e-6). max_iterations: default 10,000 and 50,000.

    Rows that no specialist is active in come back unchanged, bit for bit. Log-probabilities below -500 count as -500.
    Raises `UserError` on shapes, class ids or values that are none of these, and where a row has not converged, unless
    ``return_info`` hands that to the caller.
    """
    _check_options(divergence, solver)
    class_ids = _check_inputs(generalist_log_probs, specialists)
    active = active_specialists(generalist_log_probs, class_ids, top_n)
    for number, (_, log_probs) in enumerate(specialists):
        _check_normalised(log_probs, active[:, number], f"specialist {number}")
    tolerance = _DEFAULT_TOLERANCE[solver] if tolerance is None else tolerance
    max_iterations = _DEFAULT_ITERATIONS[solver] if max_iterations is None else max_iterations
    count = len(generalist_log_probs)
    combined = generalist_log_probs.clone()
    info = CombineInfo(
        active.sum(dim=1),
        torch.zeros(count, dtype=torch.int64),
        torch.zeros(count, dtype=torch.float64),
        torch.zeros(count, dtype=torch.float64),
        torch.ones(count, dtype=torch.bool),
    )
    tables = [log_probs.detach() for _, log_probs in specialists]
    touched = active.any(dim=1).nonzero().flatten()
    for first in range(0, len(touched), _ROWS):
        rows = touched[first : first + _ROWS]
        problem = reduce_rows(generalist_log_probs.detach(), class_ids, tables, active, rows, divergence)
        solution = solve(problem, solver, tolerance, max_iterations)
        combined[rows] = problem.expand(solution.log_q).to(combined.dtype)
        info.iterations[rows], info.excess[rows] = solution.iterations, solution.excess
        info.residual[rows], info.converged[rows] = solution.residual, solution.converged
    if return_info:
        return combined, info
    if not bool(info.converged.all()):
        worst = int(torch.where(info.converged, -torch.ones_like(info.excess), info.residual).argmax())
        raise UserError(
            f"{int((~info.converged).sum())} of {count} rows have not converged in {max_iterations} iterations of {solver}"
            f" (row {worst}: residual {float(info.residual[worst]):.2g}, tolerance {tolerance:g}); raise max_iterations or"
            " tolerance, or take solver='fixed_point'; return_info=True returns the rows as they are"
        )
    return combined


def combine_by_addition(generalist_log_probs: torch.Tensor, specialists: Sequence[Specialist], top_n: int = 1) -> torch.Tensor:
    """The naive rule, as a baseline: ``(N, C)`` log of p_g plus the active specialists' probabilities, divided by their sum.

    A specialist adds nothing to the classes that it does not know, and its dustbin is dropped. Arguments, errors and
    rows without an active specialist as in `combine`.
    """
    class_ids = _check_inputs(generalist_log_probs, specialists)
    active = active_specialists(generalist_log_probs, class_ids, top_n)
    total = generalist_log_probs.double().exp()
    for number, (ids, (_, log_probs)) in enumerate(zip(class_ids, specialists, strict=True)):
        _check_normalised(log_probs, active[:, number], f"specialist {number}")
        rows = active[:, number].nonzero().flatten()
        total[rows.unsqueeze(1), ids] += log_probs[rows, :-1].double().exp()
    added = total.log() - total.sum(dim=1, keepdim=True).log()
    return torch.where(active.any(dim=1, keepdim=True), added.to(generalist_log_probs.dtype), generalist_log_probs)


def active_specialists(generalist_log_probs: torch.Tensor, class_ids: Sequence[Any], top_n: int = 1) -> torch.Tensor:
    """``(N, M)`` bool: which of M specialists, given by their class ids, know one of the ``top_n`` most probable classes.

    Raises `UserError` on a ``top_n`` outside 1..C and on class ids that are none.
    """
    num_classes = generalist_log_probs.shape[1]
    if not 1 <= top_n <= num_classes:
        raise UserError(f"top_n is {top_n}, expected 1 to {num_classes}, the number of classes")
    knows = torch.zeros(num_classes, len(class_ids), dtype=torch.bool)
    for number, ids in enumerate(class_ids):
        knows[check_class_ids(ids, num_classes, f"specialist {number}", least=1), number] = True
    return knows[generalist_log_probs.float().topk(top_n, dim=1).indices].any(dim=1)


def combined_objective(
    log_q: torch.Tensor,
    generalist_log_probs: torch.Tensor,
    specialists: Sequence[Specialist],
    top_n: int = 1,
    divergence: Divergence = "forward",
) -> torch.Tensor:
    """Eq. 5's sum of divergences for candidates ``log_q`` (N, C), in nats: ``(N,)`` float64, differentiable in ``log_q``.

    Written out class by class, without what `combine` does to be fast: what its answers can be held against.
    """
    _check_options(divergence, "fixed_point")
    class_ids = _check_inputs(generalist_log_probs, specialists)
    active = active_specialists(generalist_log_probs, class_ids, top_n)
    log_q = log_q.double()
    total = _divergence(generalist_log_probs, log_q, divergence)
    for number, (ids, (_, log_probs)) in enumerate(zip(class_ids, specialists, strict=True)):
        outside = torch.ones(log_q.shape[1], dtype=torch.bool)
        outside[ids] = False
        dustbin = log_q[:, outside].logsumexp(dim=1, keepdim=True).clamp(min=FLOOR)
        seen = _divergence(log_probs, torch.cat([log_q[:, ids], dustbin], dim=1), divergence)
        total = total + torch.where(active[:, number], seen, torch.zeros_like(seen))
    return total


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor, divergence: Divergence) -> torch.Tensor:
    log_p = log_p.double().clamp(min=FLOOR)
    first, second = (log_p, log_q) if divergence == "forward" else (log_q, log_p)
    return (first.exp() * (first - second)).sum(dim=1)


def _check_options(divergence: str, solver: str) -> None:
    if divergence not in ("forward", "reverse"):
        raise UserError(f"divergence is {divergence!r}, expected forward (KL(p, q), the paper's) or reverse (KL(q, p))")
    if solver not in _DEFAULT_TOLERANCE:
        raise UserError(f"solver is {solver!r}, expected fixed_point or gradient")


def _check_inputs(generalist_log_probs: torch.Tensor, specialists: Sequence[Specialist]) -> list[torch.Tensor]:
    """The class ids of each specialist, after a look at all shapes."""
    if generalist_log_probs.ndim != 2 or not generalist_log_probs.is_floating_point():
        raise UserError(f"the generalist's log-probabilities have shape {tuple(generalist_log_probs.shape)}, expected (N, C)")
    count, num_classes = generalist_log_probs.shape
    _check_normalised(generalist_log_probs, torch.ones(count, dtype=torch.bool), "the generalist")
    found = []
    for number, (class_ids, log_probs) in enumerate(specialists):
        ids = check_class_ids(class_ids, num_classes, f"specialist {number}", least=1)
        if tuple(log_probs.shape) != (count, len(ids) + 1):
            raise UserError(
                f"specialist {number}: log-probabilities have shape {tuple(log_probs.shape)}, expected {(count, len(ids) + 1)}:"
                f" {len(ids)} classes and the dustbin last"
            )
        found.append(ids)
    return found


def _check_normalised(log_probs: torch.Tensor, rows: torch.Tensor, where: str) -> None:
    numbers = rows.nonzero().flatten()
    totals = log_probs.detach()[numbers].float().logsumexp(dim=1)
    wrong = ~(totals.abs() <= 1e-2)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise UserError(
            f"{where}, row {int(numbers[first])}: the probabilities sum to {float(totals[first].exp()):.4g}, expected 1;"
            " give log_softmax outputs, not logits"
        )
