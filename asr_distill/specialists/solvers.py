"""Two ways to the minimum of Eq. 5, on the reduced problem, many rows at once.

The fixed point. Complete each active specialist's distribution by sharing its dustbin's mass among the classes outside in
proportion to q, p~_m(c) = d_m q(c) / Q_m, and let the next q be the mean of p_g and the completed p~_m: the arithmetic mean for
KL(p, q), the normalised geometric mean for KL(q, p).

It never raises the objective. By the chain rule of the divergence, for any q',

    KL(p~_m, q') = KL(p_m, q') + d_m KL(p~_m | outside, q' | outside) >= KL(p_m, q'),

with equality at q' = q, because p~_m was given q's own proportions there; likewise KL(q', p~_m) >= KL(q', p_m) with equality at
q. So B(q') = KL(p_g, q') + sum KL(p~_m, q') lies on or above the objective and touches it at q. B is a sum over full
distributions, whose minimum is their mean, so F(mean) <= B(mean) <= B(q) = F(q). For KL(p, q) this is expectation maximisation.

How much is left is known too. F is convex in q, so F(q) - F(q*) <= <grad F(q), q - q*>. The right side is at most, with
n = 1 + A and r = next / q the factors of the step before it is normalised,

    forward:  n (max r - 1),      reverse:  n (max log r - sum q log r).

Where the fixed point takes long, `newton` proposes a q, and it is taken if the objective is lower there.

The other solver is gradient descent on the logits, as in the paper, with Nesterov's momentum; in the logits of groups the
gradient is n (q - next) forward and n q (sum q log r - log r) in reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch

from asr_distill.specialists.newton import newton
from asr_distill.specialists.reduction import ReducedProblem

Solver = Literal["fixed_point", "gradient"]
_LOOK_EVERY = 8  # iterations after which rows that have converged leave the batch
_NEWTON_EVERY = 40  # iterations of the fixed point after which Newton's method helps the rows that are left
_ELEMENTS = 1 << 23  # of the largest tensor, rows x groups x specialists


@dataclass
class Solution:
    """log_q: (B, G) float64, -inf where there is no such group; iterations, excess, residual, converged: (B,)."""

    log_q: torch.Tensor
    iterations: torch.Tensor
    excess: torch.Tensor
    residual: torch.Tensor
    converged: torch.Tensor


@dataclass
class _Rows:
    """What the steps need of a `ReducedProblem`'s rows, and where they stand."""

    log_w: torch.Tensor
    known: torch.Tensor
    outside: torch.Tensor
    dustbin: torch.Tensor
    weight: torch.Tensor  # (B, 1): n = 1 + A
    log_q: torch.Tensor
    looked_ahead: torch.Tensor  # (B, G): where the next gradient is taken
    momentum: torch.Tensor  # (B, 1)
    step: torch.Tensor  # (B, 1)
    numbers: torch.Tensor  # (B,)

    def keep(self, rows: torch.Tensor) -> _Rows:
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def solve(problem: ReducedProblem, solver: Solver, tolerance: float, max_iterations: int) -> Solution:
    """The groups' log-sums at the minimum. tolerance: of the excess (``fixed_point``) or the residual (``gradient``)."""
    count, groups, width = problem.outside.shape
    solution = Solution(
        torch.zeros_like(problem.log_w),
        torch.zeros(count, dtype=torch.int64),
        problem.log_w.new_zeros(count),
        problem.log_w.new_zeros(count),
        torch.zeros(count, dtype=torch.bool),
    )
    for numbers in torch.arange(count).split(max(1, _ELEMENTS // (groups * width))):
        _solve_block(_begin(problem, numbers), problem.divergence == "forward", solver, tolerance, max_iterations, solution)
    return solution


def _begin(problem: ReducedProblem, numbers: torch.Tensor) -> _Rows:
    """At the normalised sums of w: each group has what those who know it gave it."""
    log_w = problem.log_w[numbers]
    log_q = torch.log_softmax(log_w, dim=1)
    weight = 1 + problem.active[numbers].unsqueeze(1)
    return _Rows(
        log_w,
        problem.known[numbers],
        problem.outside[numbers],
        problem.dustbin[numbers],
        weight,
        log_q,
        log_q,
        torch.ones_like(weight),
        1 / weight,
        numbers,
    )


def _solve_block(rows: _Rows, forward: bool, solver: Solver, tolerance: float, max_iterations: int, solution: Solution) -> None:
    iteration = 0
    while len(rows.numbers):
        if iteration % _LOOK_EVERY == 0 or iteration >= max_iterations:
            excess, residual = _certificate(rows, rows.log_q, forward)
            converged = (excess if solver == "fixed_point" else residual) <= tolerance
            leaving = torch.ones_like(converged) if iteration >= max_iterations else converged
            numbers = rows.numbers[leaving]
            solution.log_q[numbers] = rows.log_q[leaving]
            solution.iterations[numbers] = iteration
            solution.excess[numbers], solution.residual[numbers] = excess[leaving], residual[leaving]
            solution.converged[numbers] = converged[leaving]
            rows = rows.keep(~leaving)
            if not len(rows.numbers):
                return
        if solver == "fixed_point":
            if forward and iteration and iteration % _NEWTON_EVERY == 0:
                rows.log_q = _where_lower(rows, newton(rows.log_q, rows.log_w, rows.outside, rows.dustbin, rows.weight))
            rows.log_q = torch.log_softmax(rows.log_q + _log_factors(rows, rows.log_q, forward), dim=1)
        else:
            _gradient_step(rows, forward)
        iteration += 1


def _where_lower(rows: _Rows, candidate: torch.Tensor) -> torch.Tensor:
    """``(B, G)``: the candidate where its objective (forward) is below that of the rows' own q; a NaN is not."""
    lower = _objective(rows, candidate, True) < _objective(rows, rows.log_q, True)
    return torch.where(lower, candidate, rows.log_q)


def _log_factors(rows: _Rows, log_q: torch.Tensor, forward: bool) -> torch.Tensor:
    """``(B, G)``: log r, what the fixed point multiplies q by; 0 where there is no such group."""
    q = log_q.exp()
    log_outside = (q.unsqueeze(1) @ rows.outside).squeeze(1).clamp(min=1e-300).log()
    if forward:
        shares = (rows.dustbin - log_outside).exp()
        ratio = (rows.log_w - log_q).exp() + (rows.outside @ shares.unsqueeze(2)).squeeze(2)
        factors = (ratio / rows.weight).log()
    else:
        shares = torch.where(torch.isfinite(rows.dustbin), rows.dustbin - log_outside, torch.zeros_like(log_outside))
        given = (1 + rows.known) * (rows.log_w - log_q) + (rows.outside @ shares.unsqueeze(2)).squeeze(2)
        factors = given / rows.weight
    return torch.where(torch.isfinite(rows.log_w), factors, torch.zeros_like(factors))


def _certificate(rows: _Rows, log_q: torch.Tensor, forward: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """``(B,)`` each: the bound on F(q) - F(q*), nats, and the sum of absolute differences to the fixed point's next q."""
    factors = _log_factors(rows, log_q, forward)
    exists = torch.isfinite(rows.log_w)
    largest = torch.where(exists, factors, torch.full_like(factors, -torch.inf)).amax(dim=1)
    q = log_q.exp()
    excess = torch.expm1(largest) if forward else largest - (q * factors).sum(dim=1)
    following = torch.softmax(log_q + factors, dim=1)
    return rows.weight[:, 0] * excess.clamp(min=0), (following - q).abs().sum(dim=1)


def _objective(rows: _Rows, log_q: torch.Tensor, forward: bool) -> torch.Tensor:
    """``(B, 1)``: Eq. 5 without the terms that do not depend on q."""
    exists = torch.isfinite(rows.log_w)
    zero = torch.zeros_like(log_q)
    q = log_q.exp()
    outside = (q.unsqueeze(1) @ rows.outside).squeeze(1).clamp(min=1e-300)
    if forward:
        inside = torch.where(exists, rows.log_w.exp() * log_q, zero).sum(dim=1)
        return -(inside + (rows.dustbin.exp() * outside.log()).sum(dim=1)).unsqueeze(1)
    inside = torch.where(exists, (1 + rows.known) * q * (log_q - rows.log_w), zero).sum(dim=1)
    real = torch.isfinite(rows.dustbin)
    dustbins = torch.where(real, outside * (outside.log() - rows.dustbin), torch.zeros_like(outside)).sum(dim=1)
    return (inside + dustbins).unsqueeze(1)


def _gradient_step(rows: _Rows, forward: bool) -> None:
    """One step on the logits, in place. Where it would rise, the row stays, its step is halved and its momentum lost."""
    factors = _log_factors(rows, rows.looked_ahead, forward)
    q = rows.looked_ahead.exp()
    uphill = q * (1 - factors.exp()) if forward else q * ((q * factors).sum(dim=1, keepdim=True) - factors)
    stepped = torch.log_softmax(rows.looked_ahead - rows.step * rows.weight * uphill, dim=1)
    fell = _objective(rows, stepped, forward) <= _objective(rows, rows.log_q, forward)
    momentum = (1 + (1 + 4 * rows.momentum.square()).sqrt()) / 2
    moved = torch.where(torch.isfinite(stepped), stepped - rows.log_q, torch.zeros_like(stepped))
    ahead = torch.log_softmax(stepped + (rows.momentum - 1) / momentum * moved, dim=1)
    plain = rows.momentum == 1
    rows.looked_ahead = torch.where(fell, ahead, rows.log_q)
    rows.log_q = torch.where(fell, stepped, rows.log_q)
    rows.step = torch.where(fell, rows.step * 1.01, torch.where(plain, rows.step / 2, rows.step))
    rows.momentum = torch.where(fell, momentum, torch.ones_like(momentum))
