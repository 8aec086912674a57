"""Eq. 5 made small: from C classes to the few patterns in which the active specialists know them.

Let A be the number of active specialists of a row and k(c) how many of them know class c. The classes that the same specialists
know form a group; all that no specialist knows are one group, the residual. Setting the derivative of Eq. 5 to zero gives,
with Q_m the sum of q over the classes outside m and d_m the dustbin probability of m,

    forward:  q(c) (1 + A - sum over m without c of d_m / Q_m) = p_g(c) + sum over m with c of p_m(c)
    reverse:  (1 + k(c)) log q(c) = log p_g(c) + sum over m with c of log p_m(c)
                                    + sum over m without c of log(d_m / Q_m) + a constant

Whatever is unknown there is the same for all classes of a group. So the ratios within a group are known: q(c) is in proportion
to w(c), which is p_g(c) + sum p_m(c) forward and (p_g(c) prod p_m(c))^(1 / (1 + k)) in reverse; the residual keeps p_g's. Only
the groups' sums remain to be found, some tens of unknowns in place of 15,000 classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Divergence = Literal["forward", "reverse"]
FLOOR = -500.0  # log-probabilities below count as this; its exponential is still far from float64's smallest


@dataclass(frozen=True)
class _Part:
    """Rows with the same active specialists. places: (R,) of the problem's rows. classes: (U,) that any of them knows.
    group_of: (U,) int64, from 1 on. log_w: (R, U) float64."""

    places: torch.Tensor
    classes: torch.Tensor
    group_of: torch.Tensor
    log_w: torch.Tensor


@dataclass(frozen=True)
class ReducedProblem:
    """B rows of at most G groups and at most A specialists; group 0 is the residual.

    log_w: (B, G) float64, the logarithm of the groups' sums of w, -inf where there is no such group. known: (B, G) float64, k.
    outside: (B, G, A) float64, 1 where the specialist does not know the group. dustbin: (B, A) float64, log d_m, and -inf where
    there is no specialist or it knows every class. active: (B,) float64, the number of specialists.
    """

    divergence: Divergence
    log_w: torch.Tensor
    known: torch.Tensor
    outside: torch.Tensor
    dustbin: torch.Tensor
    active: torch.Tensor
    log_p: torch.Tensor
    parts: tuple[_Part, ...]

    def expand(self, log_q: torch.Tensor) -> torch.Tensor:
        """From the groups' log-sums ``(B, G)`` to the classes ``(B, C)`` float64."""
        shift = torch.where(torch.isfinite(self.log_w), log_q - self.log_w, torch.zeros_like(log_q))
        classes = self.log_p + shift[:, :1]
        for part in self.parts:
            classes[part.places.unsqueeze(1), part.classes] = part.log_w + shift[part.places][:, part.group_of]
        return classes


def reduce_rows(
    generalist_log_probs: torch.Tensor,
    class_ids: Sequence[torch.Tensor],
    specialist_log_probs: Sequence[torch.Tensor],
    active: torch.Tensor,
    rows: torch.Tensor,
    divergence: Divergence,
) -> ReducedProblem:
    """The problem of the given ``rows`` (B,), each of which has an active specialist.

    generalist_log_probs: (N, C). class_ids: (m,) of each of M specialists. specialist_log_probs: (N, m + 1) of each.
    active: (N, M) bool.
    """
    log_p = _normalised(generalist_log_probs[rows])
    sets, set_of = torch.unique(active[rows], dim=0, return_inverse=True)
    order = torch.argsort(set_of, stable=True)
    parts, tables = [], []
    for chosen, places in zip(sets, order.split(torch.bincount(set_of).tolist()), strict=True):
        slots = chosen.nonzero().flatten().tolist()
        ids = [class_ids[slot] for slot in slots]
        logs = [_normalised(specialist_log_probs[slot][rows[places]]) for slot in slots]
        part, table = _reduce_part(log_p, places, ids, logs, divergence)
        parts.append(part)
        tables.append(table)
    groups, width = (max(table[1].shape[axis] for table in tables) for axis in (0, 1))
    count = len(rows)
    zeros = log_p.new_zeros
    problem = ReducedProblem(
        divergence,
        zeros(count, groups).fill_(-torch.inf),
        zeros(count, groups),
        zeros(count, groups, width),
        zeros(count, width).fill_(-torch.inf),
        active[rows].sum(dim=1).double(),
        log_p,
        tuple(parts),
    )
    for part, (log_w, member, dustbin) in zip(parts, tables, strict=True):
        height, slots_here = member.shape
        problem.log_w[part.places, :height] = log_w
        problem.known[part.places, :height] = member.sum(dim=1)
        problem.outside[part.places, :height, :slots_here] = 1 - member
        problem.dustbin[part.places, :slots_here] = dustbin
    return problem


def _reduce_part(
    log_p: torch.Tensor,
    places: torch.Tensor,
    ids: Sequence[torch.Tensor],
    logs: Sequence[torch.Tensor],
    divergence: Divergence,
) -> tuple[_Part, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Rows ``places`` that have the same specialists: the part, and log_w (R, G), member (G, A), dustbin (R, A)."""
    num_classes = log_p.shape[1]
    classes = torch.unique(torch.cat(list(ids)))
    positions = [torch.searchsorted(classes, part_ids) for part_ids in ids]
    member = torch.zeros(len(classes), len(ids), dtype=torch.bool)
    for slot, position in enumerate(positions):
        member[position, slot] = True
    group_of, group_member = _patterns(member)
    ours = log_p[places]
    if divergence == "forward":
        w = ours[:, classes].exp()
        for position, table in zip(positions, logs, strict=True):
            w[:, position] += table[:, :-1].exp()
        log_w = w.log()
    else:
        log_w = ours[:, classes]
        for position, table in zip(positions, logs, strict=True):
            log_w[:, position] += table[:, :-1]
        log_w /= 1 + member.sum(dim=1)
        w = log_w.exp()
    sums = w.new_zeros(len(places), len(group_member) + 1).index_add_(1, group_of + 1, w)
    dustbin = torch.stack([table[:, -1] for table in logs], dim=1)
    if len(classes) < num_classes:
        ours = ours.exp_()
        ours[:, classes] = 0
        sums[:, 0] = ours.sum(dim=1)
    for slot, part_ids in enumerate(ids):
        if len(part_ids) == num_classes:  # nothing is outside: what its dustbin says is about nothing
            dustbin[:, slot] = -torch.inf
    member_of_groups = torch.cat([torch.zeros(1, len(ids)), group_member.float()]).double()
    return _Part(places, classes, group_of + 1, log_w), (sums.log(), member_of_groups, dustbin)


def _normalised(log_probs: torch.Tensor) -> torch.Tensor:
    """In float64, for what float32 leaves of a sum of 1 would pass for distance from the minimum."""
    return torch.log_softmax(log_probs.double().clamp_(min=FLOOR), dim=1)


def _patterns(member: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of membership ``(U, A)`` bool the distinct rows ``(G, A)`` and which of them each class has ``(U,)``."""
    codes = torch.zeros(len(member), dtype=torch.int64)
    for slots in member.split(31, dim=1):  # so many at a time that the codes fit into int64, however many there are
        bits = (slots.to(torch.int64) << torch.arange(slots.shape[1])).sum(dim=1)
        codes = torch.unique((codes << 31) + bits, return_inverse=True)[1]
    patterns = torch.zeros(int(codes.max()) + 1, member.shape[1], dtype=torch.bool)
    patterns[codes] = member
    return codes, patterns
