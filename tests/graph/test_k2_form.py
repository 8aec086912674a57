"""The k2 form: epsilons by hand, and refusals that name the arc."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.graph.arrays import FstArrays, from_fst, to_fst
from asr_distill.graph.epsilon import remove_input_epsilons
from asr_distill.graph.k2_form import K2Form, check_k2_form, to_k2_form


def fst(rows: list[tuple[int, int, int, int, float]], final: dict[int, float]) -> FstArrays:
    """Arcs (source, destination, input, output, cost)."""
    table = np.array(rows)
    states = int(table[:, :2].max()) + 1
    costs = np.full(states, np.inf, np.float32)
    for state, cost in final.items():
        costs[state] = cost
    columns = [table[:, column].astype(np.int32) for column in range(4)]
    return FstArrays(0, *columns, table[:, 4].astype(np.float32), costs)


# 0 -1:7-> 1 -eps:8-> 2 -eps-> 3 -2:9-> 4, and 1 itself may end
SMALL = fst([(0, 1, 1, 7, 0.5), (1, 2, 0, 8, 0.25), (2, 3, 0, 0, 1.0), (3, 4, 2, 9, 2.0)], {1: 0.125, 4: 0.0})


def test_words_of_epsilon_arcs_move_to_the_arc_before() -> None:
    free, sequences = remove_input_epsilons(SMALL, 9)
    arcs = {(int(i), sequences.words(int(o)), float(w)) for i, o, w in zip(free.ilabel, free.olabel, free.weight, strict=True)}
    assert arcs == {(1, (7,), 0.5), (1, (7, 8), 1.75), (2, (9,), 2.0)}
    assert sorted(free.final[np.isfinite(free.final)].tolist()) == [0.0, 0.125]


def test_epsilons_that_leave_the_start() -> None:
    graph = fst([(0, 1, 0, 8, 0.5), (1, 2, 3, 0, 0.25), (0, 2, 3, 7, 1.0), (2, 0, 4, 0, 0.0)], {2: 0.0})
    free, sequences = remove_input_epsilons(graph, 9)
    first = free.source == free.start
    assert {(int(i), sequences.words(int(o))) for i, o in zip(free.ilabel[first], free.olabel[first], strict=True)} == {
        (3, (8,)),
        (3, (7,)),
    }
    assert not (free.destination == free.start).any()


def test_cycle_of_epsilons_is_refused() -> None:
    with pytest.raises(UserError, match="cycle"):
        remove_input_epsilons(fst([(0, 1, 1, 0, 0), (1, 2, 0, 5, 0), (2, 1, 0, 0, 0), (2, 3, 1, 0, 0)], {3: 0}), 9)


def test_words_without_frames_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(5,\) are accepted without a single frame"):
        remove_input_epsilons(fst([(0, 1, 0, 5, 0), (1, 1, 1, 0, 0)], {1: 0}), 9)


def test_empty_graph_is_refused() -> None:
    with pytest.raises(UserError, match="empty"):
        remove_input_epsilons(fst([(0, 1, 1, 0, 0)], {0: np.inf}), 9)


def test_saved_and_read_back(tmp_path: Path) -> None:
    form = to_k2_form(SMALL, 9)
    form.save(tmp_path / "graph.safetensors")
    again = K2Form.load(tmp_path / "graph.safetensors")
    assert again.sequences == form.sequences == ((7, 8),)
    for name in ("arcs", "scores", "aux"):
        np.testing.assert_array_equal(getattr(again, name), getattr(form, name))
    (tmp_path / "graph.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        K2Form.load(tmp_path / "graph.safetensors")


def broken(column: int, value: int, arc: int = 1) -> K2Form:
    form = to_k2_form(SMALL, 9)
    arcs = form.arcs.copy()
    arcs[arc, column] = value
    return dataclasses.replace(form, arcs=arcs)


def test_a_whole_graph_passes() -> None:
    check_k2_form(to_k2_form(SMALL, 9), 2)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (broken(2, 0), r"arc 1 \(.*label 0.*reads no senone"),
        (broken(2, 9), r"arc 1 \(.*label 9.*not in the model, which has senones 0 to 1"),
        (broken(2, -1), "label -1 belongs on the arcs into the final state"),
        (broken(2, -5), "negative labels"),
        (broken(0, -2), "states are out of range"),
        (broken(1, 0), "lie on no path"),
        (dataclasses.replace(to_k2_form(SMALL, 9), sequences=()), "word numbers go from 0 to 9"),
        (dataclasses.replace(to_k2_form(SMALL, 9), scores=np.full(5, np.nan, np.float32)), "not a finite number"),
    ],
)
def test_arcs_that_k2_must_not_see_are_named(form: K2Form, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_k2_form(form, 2, "small")


def test_openfst_files_keep_every_bit() -> None:
    generator = np.random.default_rng(1)
    states, arcs = 50, 300
    source = np.sort(generator.integers(0, states, arcs)).astype(np.int32)
    labels = generator.integers(0, 9, (3, arcs)).astype(np.int32)
    final = np.where(generator.random(states) < 0.5, generator.random(states), np.inf).astype(np.float32)
    graph = FstArrays(
        3, source, labels[0] % states, labels[1], labels[2], generator.normal(size=arcs).astype(np.float32), final
    )
    again = from_fst(to_fst(graph))
    for field in dataclasses.fields(FstArrays):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(graph, field.name))
