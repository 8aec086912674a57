"""Eq. 5: by hand, in closed form, against an independent optimiser, and as properties over random cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from asr_distill.base import UserError
from asr_distill.specialists import active_specialists, combine, combine_by_addition, combined_objective


def random_case(seed: int, rows: int = 6, num_classes: int = 12, number: int = 4, size: int = 5, sharpness: float = 2.0):
    """A generalist and specialists that disagree."""
    generator = torch.Generator().manual_seed(seed)

    def log_probs(columns: int) -> torch.Tensor:
        return torch.log_softmax(sharpness * torch.randn(rows, columns, generator=generator, dtype=torch.float64), dim=1)

    specialists = []
    for _ in range(number):
        ids = torch.randperm(num_classes, generator=generator)[:size]
        specialists.append((ids, log_probs(size + 1)))
    return log_probs(num_classes), specialists


def test_one_specialist_of_two_classes_by_hand() -> None:
    # With one specialist that knows a and b, Q = q(c) + q(d) and lambda = d / Q: q(a) = (p(a) + s(a)) / 2, and what is left,
    # 1 - q(a) - q(b), keeps the generalist's ratio of c to d.
    generalist = torch.tensor([[0.4, 0.2, 0.3, 0.1]], dtype=torch.float64).log()
    specialist = ([0, 1], torch.tensor([[0.1, 0.7, 0.2]], dtype=torch.float64).log())
    combined = combine(generalist, [specialist]).exp()
    # a: (0.4 + 0.1) / 2, b: (0.2 + 0.7) / 2, outside: (0.4 + 0.2) / 2 = 0.3, shared 3 to 1
    torch.testing.assert_close(combined, torch.tensor([[0.25, 0.45, 0.225, 0.075]], dtype=torch.float64), atol=1e-8, rtol=0)


def test_a_dustbin_alone_by_hand_in_reverse() -> None:
    # Geometric mean of (0.4, 0.2, 0.4 outside) and (0.1, 0.8, 0.1 dustbin): roots of 0.04, 0.16, 0.04, that is 0.2, 0.4, 0.2.
    generalist = torch.tensor([[0.4, 0.2, 0.3, 0.1]], dtype=torch.float64).log()
    specialist = ([0, 1], torch.tensor([[0.1, 0.8, 0.1]], dtype=torch.float64).log())
    combined = combine(generalist, [specialist], divergence="reverse").exp()
    expected = torch.tensor([[0.2, 0.4, 0.15, 0.05]], dtype=torch.float64) / 0.8
    torch.testing.assert_close(combined, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("solver", ["fixed_point", "gradient"])
@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_full_distributions_have_a_closed_form(divergence: str, solver: str) -> None:
    generator = torch.Generator().manual_seed(1)
    logs = torch.log_softmax(2 * torch.randn(4, 5, 7, generator=generator, dtype=torch.float64), dim=2)
    nothing = torch.full((5, 1), -torch.inf, dtype=torch.float64)
    specialists = [(torch.arange(7), torch.cat([log_probs, nothing], dim=1)) for log_probs in logs[1:]]
    combined = combine(logs[0], specialists, divergence=divergence, solver=solver)
    expected = logs.exp().mean(dim=0) if divergence == "forward" else torch.softmax(logs.mean(dim=0), dim=1)
    torch.testing.assert_close(combined.exp(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_against_an_independent_optimiser_over_all_classes(divergence: str) -> None:
    generalist, specialists = random_case(3, rows=4, num_classes=9, number=5, size=4)
    combined = combine(generalist, specialists, top_n=2, divergence=divergence)
    active = active_specialists(generalist, [ids for ids, _ in specialists], 2).numpy()
    tables = [(ids.numpy(), log_probs.exp().numpy()) for ids, log_probs in specialists]

    for row in range(len(generalist)):
        p = generalist[row].exp().numpy()

        def objective(z: np.ndarray, row: int = row, p: np.ndarray = p) -> float:
            q = np.exp(z - z.max())
            q /= q.sum()
            pairs = [(p, q)]
            for number, (ids, probs) in enumerate(tables):
                if active[row, number]:
                    pairs.append((probs[row], np.append(q[ids], np.delete(q, ids).sum())))
            if divergence == "reverse":
                pairs = [(b, a) for a, b in pairs]
            return float(sum((a * np.log(a / b)).sum() for a, b in pairs))

        found = minimize(objective, np.zeros(9), method="BFGS", options={"gtol": 1e-9})
        q = np.exp(found.x - found.x.max())
        np.testing.assert_allclose(combined[row].exp().numpy(), q / q.sum(), atol=2e-5)
        ours = float(combined_objective(combined, generalist, specialists, 2, divergence)[row])
        assert ours <= found.fun + 1e-7
        assert ours == pytest.approx(found.fun, abs=1e-6)


cases = st.tuples(
    st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 11), st.integers(1, 4), st.sampled_from([0.5, 2.0, 6.0])
)


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@settings(max_examples=40)
@given(case=cases)
def test_the_fixed_point_never_rises_and_knows_what_is_left(divergence: str, case: tuple) -> None:
    seed, number, size, top_n, sharpness = case
    generalist, specialists = random_case(seed, number=number, size=size, sharpness=sharpness)
    final = combine(generalist, specialists, top_n, divergence=divergence, tolerance=1e-11)
    least = combined_objective(final, generalist, specialists, top_n, divergence)
    before = None
    for iterations in range(6):
        log_q, info = combine(
            generalist, specialists, top_n, divergence=divergence, max_iterations=iterations, return_info=True
        )
        now = combined_objective(log_q, generalist, specialists, top_n, divergence)
        touched = info.active > 0
        assert bool((now - least <= info.excess + 1e-9)[touched].all())
        if before is not None:
            assert bool((now <= before + 1e-9)[touched].all())
        before = now
        torch.testing.assert_close(log_q.logsumexp(dim=1), torch.zeros(len(log_q), dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@settings(max_examples=30)
@given(case=st.tuples(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 11), st.integers(1, 3)))
def test_the_solvers_agree(divergence: str, case: tuple) -> None:
    seed, number, size, top_n = case
    generalist, specialists = random_case(seed, rows=3, number=number, size=size, sharpness=1.0)
    by_fixed_point = combine(generalist, specialists, top_n, divergence=divergence)
    by_gradient = combine(generalist, specialists, top_n, divergence=divergence, solver="gradient")
    torch.testing.assert_close(by_gradient.exp(), by_fixed_point.exp(), atol=1e-4, rtol=0)


def test_rows_without_a_specialist_are_the_same_bits_and_their_specialists_are_not_read() -> None:
    generalist = torch.log_softmax(torch.eye(4, dtype=torch.float32) * 3, dim=1)
    known = torch.log_softmax(torch.ones(4, 3), dim=1)
    known[2:] = torch.nan  # not active there
    combined, info = combine(generalist, [(torch.tensor([0, 1]), known)], return_info=True)
    assert torch.equal(combined[2:], generalist[2:])
    assert combined.dtype == torch.float32
    assert info.active.tolist() == [1, 1, 0, 0]
    assert info.iterations.tolist()[2:] == [0, 0]
    assert bool(torch.isfinite(combined).all())
    assert torch.equal(combine_by_addition(generalist, [(torch.tensor([0, 1]), known)])[2:], generalist[2:])


def test_top_n_calls_more_specialists() -> None:
    generalist = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    ids = [[0], [1, 3], [2, 3]]
    assert active_specialists(generalist, ids).tolist() == [[True, False, False]]
    assert active_specialists(generalist, ids, 2).tolist() == [[True, True, False]]
    assert active_specialists(generalist, ids, 3).tolist() == [[True, True, True]]


def test_addition_by_hand() -> None:
    generalist = torch.tensor([[0.4, 0.2, 0.3, 0.1]]).log()
    specialist = ([1, 0], torch.tensor([[0.7, 0.1, 0.2]]).log())
    expected = torch.tensor([[0.5, 0.9, 0.3, 0.1]]) / 1.8
    torch.testing.assert_close(combine_by_addition(generalist, [specialist]).exp(), expected)


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_certain_networks_do_not_break_it(divergence: str) -> None:
    generalist = torch.log_softmax(torch.tensor([[300.0, 0.0, -400.0, -900.0]], dtype=torch.float64), dim=1)
    specialists = [
        ([0, 1], torch.tensor([[-math.inf, -math.inf, 0.0]], dtype=torch.float64)),
        ([0, 2], torch.log_softmax(torch.tensor([[0.0, 800.0, -900.0]], dtype=torch.float64), dim=1)),
    ]
    combined, info = combine(generalist, specialists, divergence=divergence, return_info=True)
    assert bool(torch.isfinite(combined).all())
    assert float(combined.logsumexp(dim=1)) == pytest.approx(0.0, abs=1e-9)
    assert bool(info.converged.all())


def test_more_specialists_than_bits_of_a_code() -> None:
    generalist, specialists = random_case(5, rows=2, num_classes=20, number=70, size=10)
    combined = combine(generalist, specialists, top_n=20)
    value = combined_objective(combined, generalist, specialists, 20)
    nudged = torch.log_softmax(combined + 1e-3 * torch.randn(2, 20, dtype=torch.float64), dim=1)
    assert bool((value < combined_objective(nudged, generalist, specialists, 20)).all())


def test_many_dustbins_that_hold_nearly_everything() -> None:
    # The fixed point alone takes thousands of iterations here: most of what it sees, it has shared out itself.
    generalist, specialists = random_case(0, rows=8, num_classes=120, number=30, size=12, sharpness=6.0)
    heavy = 100 * torch.rand(8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    heavy = torch.cat([torch.zeros(8, 12, dtype=torch.float64), heavy], dim=1)
    specialists = [(ids, torch.log_softmax(log_probs + heavy, dim=1)) for ids, log_probs in specialists]
    _, info = combine(generalist, specialists, top_n=20, return_info=True, max_iterations=120)
    assert bool(info.converged.all())
    assert int(info.iterations.max()) > 40


def test_what_is_refused() -> None:
    generalist, specialists = random_case(0)
    ids, log_probs = specialists[0]
    with pytest.raises(UserError, match="top_n is 13"):
        combine(generalist, specialists, top_n=13)
    with pytest.raises(UserError, match=r"specialist 0: .*\(6, 5\), expected \(6, 6\)"):
        combine(generalist, [(ids, log_probs[:, 1:])])
    with pytest.raises(UserError, match="specialist 0 has the class 12"):
        combine(generalist, [(torch.tensor([0, 1, 2, 3, 12]), log_probs)])
    with pytest.raises(UserError, match="specialist 0 has the class 1 more than once"):
        combine(generalist, [(torch.tensor([0, 1, 2, 3, 1]), log_probs)])
    with pytest.raises(UserError, match="generalist, row 0: the probabilities sum to"):
        combine(generalist + 1, specialists)
    with pytest.raises(UserError, match=r"specialist 1, row .*not logits"):
        combine(generalist, [specialists[0], (specialists[1][0], specialists[1][1] - 1)], top_n=12)
    with pytest.raises(UserError, match="divergence is 'sideways'"):
        combine(generalist, specialists, divergence="sideways")
    with pytest.raises(UserError, match="rows have not converged in 1 iterations"):
        combine(generalist, specialists, top_n=12, max_iterations=1)
