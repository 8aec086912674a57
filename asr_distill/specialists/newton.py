"""Newton's method for the rows of Eq. 5, KL(p, q), on which the fixed point creeps.

It creeps where many dustbins hold nearly everything, and where a group that all hold for next to impossible must take what the
dustbins give. The conditions for the minimum have one multiplier for each specialist and one slack for each group:

    q_g u_g = s_g,    lambda_m Q_m = d_m,    u_g + sum over m outside g of lambda_m = n,    Q_m = sum over g outside m of q_g,

with s_g the sum of w in the group and n = 1 + A. They are those of an interior-point method with targets s and d, solved like
one: Newton steps that keep q, u and lambda positive, each a linear system in as many unknowns as there are specialists.
What it finds is judged by `solvers` like anything else: it counts where the objective is lower.
"""

from __future__ import annotations

import torch

_STEPS = 40
_TO_THE_BOUNDARY = 0.95  # of the way to the first variable that would become zero


def newton(
    log_q: torch.Tensor, log_w: torch.Tensor, outside: torch.Tensor, dustbin: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Improved ``log_q`` (B, G) float64 from one that has had some steps of the fixed point; NaN in rows where it fails.

    log_w: (B, G), -inf where there is no group. outside: (B, G, A). dustbin: (B, A), -inf where none. weight: n, (B, 1).
    """
    exists, real = torch.isfinite(log_w), torch.isfinite(dustbin)
    masked = outside * exists.unsqueeze(2) * real.unsqueeze(1)
    s = torch.where(exists, log_w.exp(), torch.ones_like(log_w))
    d = torch.where(real, dustbin.exp(), torch.ones_like(dustbin))
    q = torch.where(exists, log_q.exp(), torch.ones_like(log_q))
    missing = (~real).double()
    # Both products are on target at the start; what is not met yet is the linear condition.
    mass = _from_groups(masked, q) + missing
    u, multiplier = s / q, d / mass
    for _ in range(_STEPS):
        mass = _from_groups(masked, q) + missing
        gap = torch.where(exists, weight - u - _to_groups(masked, multiplier), torch.zeros_like(u))
        steepness = q / u
        scaled = masked * multiplier.unsqueeze(1)
        matrix = scaled.transpose(1, 2) @ (scaled * steepness.unsqueeze(2)) + torch.diag_embed(multiplier * mass)
        right = d - multiplier * (_from_groups(masked, s / u - steepness * gap) + missing * mass)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        direction = multiplier * torch.cholesky_solve(right.unsqueeze(2), factor).squeeze(2)
        change_u = gap - _to_groups(masked, direction)
        change_q = s / u - q - steepness * change_u
        dual = torch.minimum(_step_length(u, change_u), _step_length(multiplier, direction))
        primal = _step_length(q, change_q)
        q = q + primal * change_q
        u, multiplier = u + dual * change_u, multiplier + dual * direction
        q = torch.where((failed != 0).unsqueeze(1), torch.full_like(q, torch.nan), q)
    return torch.log_softmax(torch.where(exists, q.log(), log_w), dim=1)


def _from_groups(masked: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``(B, G)`` summed over the groups outside each specialist: ``(B, A)``."""
    return (values.unsqueeze(1) @ masked).squeeze(1)


def _to_groups(masked: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """``(B, A)`` summed over the specialists that each group is outside of: ``(B, G)``."""
    return (masked @ values.unsqueeze(2)).squeeze(2)


def _step_length(values: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """``(B, 1)``: 1, or the share of the step after which the first value would be zero, and a little less."""
    shrink = (-change / values).amax(dim=1, keepdim=True)
    return torch.where(shrink > _TO_THE_BOUNDARY, _TO_THE_BOUNDARY / shrink, torch.ones_like(shrink))
