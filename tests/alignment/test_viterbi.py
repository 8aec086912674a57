"""Viterbi: by hand, against every path of small graphs, and one by one against all together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.alignment.state_graph import StateGraph
from asr_distill.alignment.viterbi import best_paths


def graph(senones: list[int], initial: list[float], final: list[float], arcs: list[tuple[int, int, float]]) -> StateGraph:
    count = len(senones)
    table = np.array(arcs, dtype=np.float64).reshape(-1, 3)
    return StateGraph(
        np.array(senones, dtype=np.int64),
        np.arange(count, dtype=np.int32),
        np.arange(count, dtype=np.int32),
        np.zeros(count, dtype=np.int16),
        np.array(initial, dtype=np.float64),
        np.array(final, dtype=np.float64),
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2],
        1,
    )


NEVER = -np.inf


def test_two_states_by_hand() -> None:
    # State 0 loops (-1), goes on (-2), 1 loops (-3). Three frames: senone 5 scores 1, 1, 0 and senone 2 scores 0, 3.25, 2.
    # 0 0 1: 1 + 1 + 2 - 1 - 2 = 1, 0 1 1: 1 + 3.25 + 2 - 2 - 3 = 1.25, and leaving costs 0.5.
    two = graph([5, 2], [0, NEVER], [NEVER, -0.5], [(0, 0, -1), (0, 1, -2), (1, 1, -3)])
    scores = torch.zeros(3, 6)
    scores[:, 5] = torch.tensor([1.0, 1.0, 0.0])
    scores[:, 2] = torch.tensor([0.0, 3.25, 2.0])
    (path,) = best_paths([two], [scores])
    assert path is not None
    assert path.states.tolist() == [0, 1, 1]
    assert path.score == pytest.approx(0.75)
    # With scores halved the transitions count for more: 2 - 1 - 2 - 0.5 = -1.5 against 3.125 - 2 - 3 - 0.5 = -2.375.
    (path,) = best_paths([two], [scores], acoustic_scale=0.5)
    assert path is not None
    assert path.states.tolist() == [0, 0, 1]
    assert path.score == pytest.approx(-1.5)


def test_no_path_is_none() -> None:
    chain = graph([0, 0, 0], [0, NEVER, NEVER], [NEVER, NEVER, 0], [(0, 1, -1), (1, 2, -1)])
    short, fits, long = best_paths([chain] * 3, [torch.zeros(2, 1), torch.zeros(3, 1), torch.zeros(4, 1)])
    assert short is None
    assert long is None
    assert fits is not None
    assert fits.states.tolist() == [0, 1, 2]
    assert best_paths([chain], [torch.full((3, 1), NEVER)]) == [None]


@st.composite
def cases(draw: st.DrawFn) -> tuple[StateGraph, torch.Tensor]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size, frames, senones = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 3))

    def some(shape: tuple[int, ...], share: float) -> np.ndarray:
        return np.where(generator.random(shape) < share, generator.normal(size=shape), NEVER)

    weights = some((size, size), 0.6)
    arcs = [(a, b, weights[a, b]) for a in range(size) for b in range(size) if np.isfinite(weights[a, b])]
    made = graph(generator.integers(0, senones, size).tolist(), list(some((size,), 0.7)), list(some((size,), 0.7)), arcs)
    return made, torch.from_numpy(generator.normal(size=(frames, senones))).float()


def score_of(path: tuple[int, ...], made: StateGraph, scores: torch.Tensor) -> float:
    """One state sequence by itself."""
    weights = {(int(a), int(b)): float(w) for a, b, w in zip(made.source, made.destination, made.weight, strict=True)}
    score = float(made.initial[path[0]] + made.final[path[-1]])
    score += sum(weights.get(pair, NEVER) for pair in itertools.pairwise(path))
    return score + sum(float(scores[t, made.senones[state]]) for t, state in enumerate(path))


@settings(max_examples=150, deadline=None)
@given(cases())
def test_best_of_all_paths(case: tuple[StateGraph, torch.Tensor]) -> None:
    (found,) = best_paths([case[0]], [case[1]])
    best = max(score_of(path, *case) for path in itertools.product(range(len(case[0].senones)), repeat=len(case[1])))
    if best == NEVER:
        assert found is None
    else:
        assert found is not None
        assert found.score == pytest.approx(best, abs=1e-9)
        # Paths that visit the same arcs in another order tie, so the path is judged by its score.
        assert score_of(tuple(found.states.tolist()), *case) == pytest.approx(best, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(cases(), min_size=2, max_size=6))
def test_together_as_alone(many: list[tuple[StateGraph, torch.Tensor]]) -> None:
    together = best_paths([made for made, _ in many], [scores[:, [0, 0, 0]] for _, scores in many])
    for (made, scores), found in zip(many, together, strict=True):
        (alone,) = best_paths([made], [scores[:, [0, 0, 0]]])
        assert (alone is None) == (found is None)
        if alone is not None and found is not None:
            assert alone.score == found.score
            assert alone.states.tolist() == found.states.tolist()
