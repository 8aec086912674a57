"""The inventory and the priors: what the hash covers, labels, words for senones, files that were tampered with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from senone_trees import all_contexts, random_tree, small_topology

from asr_distill.base import DIGESTS_FILE, UserError
from asr_distill.senones import (
    FrameAlignment,
    Leaf,
    PhoneticTree,
    SenoneInventory,
    SenonePriors,
    Split,
    check_same,
    default_topology,
    monophone_tree,
)


def inventory_of(seed: int = 0) -> SenoneInventory:
    topology = small_topology()
    return SenoneInventory(topology, random_tree(topology, seed))


def test_labels_by_hand() -> None:
    """Monophone senones: SIL 0, A 1-3, B 4-6."""
    topology = default_topology(["SIL", "A", "B"], ["SIL"])
    inventory = SenoneInventory(topology, monophone_tree(topology))
    alignment = FrameAlignment(np.array([1, 3, 2]), np.array([0, 0, 1, 1, 1, 2]), np.array([0, 4, 0, 1, 2, 0]))
    labels = inventory.label(alignment)
    assert labels.tolist() == [0, 0, 4, 5, 6, 1]
    assert labels.dtype == np.int32
    assert inventory.silence_senones.tolist() == [True] + 6 * [False]
    assert inventory.label(FrameAlignment(np.zeros(0), np.zeros(0), np.zeros(0))).shape == (0,)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), phones=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_labels_are_the_walk_of_each_frame(seed: int, phones: list[int]) -> None:
    inventory = inventory_of(seed)
    states = np.tile([0, 0, 1, 2], len(phones))
    alignment = FrameAlignment(np.array(phones), np.repeat(np.arange(len(phones)), 4), states)
    padded = [0, *phones, 0]
    expected = [
        inventory.tree.senone((padded[i], padded[i + 1], padded[i + 2]), 0 if padded[i + 1] == 1 else state)
        for i in range(len(phones))
        for state in (0, 0, 1, 2)
    ]
    assert inventory.label(alignment).tolist() == expected


def test_foreign_alignments_are_refused() -> None:
    with pytest.raises(UserError, match=r"phone id 6, the topology has 1\.\.5"):
        inventory_of().label(FrameAlignment(np.array([6]), np.array([0]), np.array([0])))
    with pytest.raises(UserError, match="state 3 of A"):
        inventory_of().label(FrameAlignment(np.array([2]), np.array([0]), np.array([3])))


def test_round_trip(tmp_path: Path) -> None:
    inventory = inventory_of(3)
    inventory.save(tmp_path / "senones.json")
    again = SenoneInventory.load(tmp_path / "senones.json")
    assert again.hash == inventory.hash
    assert again.topology == inventory.topology
    contexts, pdf_classes = all_contexts(inventory.topology)
    np.testing.assert_array_equal(
        again.tree.senones_of(contexts, pdf_classes), inventory.tree.senones_of(contexts, pdf_classes)
    )
    assert (tmp_path / "senones.json").read_bytes() == (again.save(tmp_path / "b.json"), (tmp_path / "b.json").read_bytes())[1]


def test_hash_changes_with_phones_topology_and_tree_only(tmp_path: Path) -> None:
    inventory = inventory_of(0)
    topology, tree = inventory.topology, inventory.tree
    assert SenoneInventory(small_topology(), random_tree(small_topology(), 0)).hash == inventory.hash
    names = tuple(name if name != "D" else "E" for name in topology.phones)
    renamed = default_topology(names, ["SIL"])
    looped = default_topology(topology.phones, ["SIL"], silence_states=4)
    index = next(i for i, node in enumerate(tree.nodes) if isinstance(node, Split))
    node = tree.nodes[index]
    assert isinstance(node, Split)
    swapped = list(tree.nodes)
    swapped[index] = Split(node.position, node.question, node.no, node.yes)
    others = [
        SenoneInventory(renamed, random_tree(renamed, 0)).hash,
        SenoneInventory(looped, tree).hash,
        SenoneInventory(topology, replace(tree, nodes=tuple(swapped))).hash,
        SenoneInventory(topology, random_tree(topology, 1)).hash,
        SenoneInventory(topology, monophone_tree(topology)).hash,
    ]
    assert len({inventory.hash, *others}) == 6
    # What was counted on them does not touch it, nor do the words that describe the senones.
    inventory.save(tmp_path / "senones.json")
    values = json.loads((tmp_path / "senones.json").read_text())
    values["senones"][0]["context"] = "reworded"
    (tmp_path / "senones.json").write_text(json.dumps(values))
    (tmp_path / DIGESTS_FILE).unlink()
    assert SenoneInventory.load(tmp_path / "senones.json").hash == inventory.hash


@pytest.mark.parametrize("seed", range(3))
def test_the_context_in_words_is_the_context_that_leads_there(seed: int) -> None:
    """Reads the description back and compares it with the lookup, for every context."""
    inventory = inventory_of(seed)
    names = {"<boundary>": 0, **{name: i for i, name in enumerate(inventory.topology.phones, 1)}}
    contexts, pdf_classes = all_contexts(inventory.topology)
    senones = inventory.tree.senones_of(contexts, pdf_classes)
    for senone in range(inventory.num_senones):
        phone, text = inventory.describe(senone).split("[", 1)
        pdf_class, text = int(text[0]), text[3:]
        described = np.zeros(len(contexts), dtype=bool)
        for path in text.split(" or "):
            fits = (contexts[:, 1] == names[phone]) & (pdf_classes == pdf_class)
            for constraint in path.split("}")[:-1] if path != "any context" else []:
                side, members = constraint.strip().split(" in {")
                allowed = [names[name] for name in members.split()]
                fits &= np.isin(contexts[:, ("left", "centre", "right").index(side)], allowed)
            described |= fits
        np.testing.assert_array_equal(described, senones == senone)


def test_tampered_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "senones.json"
    inventory_of().save(path)
    values = json.loads(path.read_text())
    values["tree"]["nodes"] = [
        [node[0], node[1], node[3], node[2]] if len(node) == 4 else node for node in values["tree"]["nodes"]
    ]
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"senones\.json is damaged or was changed"):
        SenoneInventory.load(path)
    (tmp_path / DIGESTS_FILE).unlink()  # of an earlier version, or another's
    with pytest.raises(UserError, match=r"different senone inventories: [0-9a-f]{64} and [0-9a-f]{64}"):
        SenoneInventory.load(path)
    path.write_text("{}")
    with pytest.raises(UserError, match="not a senone inventory of format 1"):
        SenoneInventory.load(path)
    values["tree"]["roots"] = []
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match="is broken"):
        SenoneInventory.load(path)
    with pytest.raises(UserError, match="does not exist"):
        SenoneInventory.load(tmp_path / "none.json")


def test_topology_and_tree_must_agree() -> None:
    with pytest.raises(UserError, match="same lang directory"):
        SenoneInventory(small_topology(), monophone_tree(default_topology(["SIL", "A"], ["SIL"])))


def test_check_same() -> None:
    check_same("a", "a", "model", "graph")
    with pytest.raises(UserError, match="model and graph belong to different senone inventories: a and b"):
        check_same("a", "b", "model", "graph")
    with pytest.raises(UserError, match="None and None"):
        check_same(None, None, "model", "graph")


def test_priors_by_hand() -> None:
    """Counts 7, 2, 0 and one frame each: 8/12, 3/12, 1/12."""
    priors = SenonePriors.from_labels([np.array([0, 0, 0, 1]), np.array([[0, 0], [0, 0]]), np.array([1, -1])], 3, "hash")
    assert priors.counts.tolist() == [7, 2, 0]
    np.testing.assert_allclose(priors.log_priors, np.log([8 / 12, 3 / 12, 1 / 12]), rtol=1e-6)
    # A floor of half the uniform prior lifts 1/12 to 1/6; then 13/12 is brought back to 1.
    floored = SenonePriors(priors.counts, "hash", relative_floor=0.5)
    np.testing.assert_allclose(floored.log_priors, np.log(np.array([8, 3, 2]) / 13), rtol=1e-6)
    assert (priors.num_floored, floored.num_floored) == (0, 1)


@settings(max_examples=50)
@given(counts=st.lists(st.integers(0, 10**9), min_size=1, max_size=50), floor=st.floats(0, 1), smoothing=st.floats(0.01, 10))
def test_priors_are_a_distribution_above_a_floor(counts: list[int], floor: float, smoothing: float) -> None:
    priors = SenonePriors(np.array(counts), "hash", floor, smoothing)
    values = np.exp(priors.log_priors.astype(np.float64))
    assert np.isfinite(priors.log_priors).all()
    assert values.sum() == pytest.approx(1.0, rel=1e-5)
    assert values.min() >= floor / len(counts) / (1 + floor) * (1 - 1e-5)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(priors.log_priors[order]) >= 0).all()


def test_priors_files(tmp_path: Path) -> None:
    path, inventory = tmp_path / "priors.json", inventory_of()
    priors = SenonePriors(np.arange(inventory.num_senones), inventory.hash)
    priors.save(path)
    again = SenonePriors.load(path, inventory.hash)
    assert again.hash == priors.hash
    np.testing.assert_array_equal(again.log_priors, priors.log_priors)
    with pytest.raises(UserError, match=f"{inventory.hash} and {'0' * 64}"):
        SenonePriors.load(path, "0" * 64)
    values = json.loads(path.read_text())
    values["counts"][0] += 1
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"priors\.json is damaged"):
        SenonePriors.load(path)
    (tmp_path / DIGESTS_FILE).unlink()
    with pytest.raises(UserError, match="was changed after it was written"):
        SenonePriors.load(path)
    path.write_text("[]")
    with pytest.raises(UserError, match="not a file of senone priors"):
        SenonePriors.load(path)


def test_prior_hash_covers_counts_floor_and_inventory() -> None:
    base = SenonePriors(np.array([1, 2]), "a")
    others = [
        SenonePriors(np.array([1, 3]), "a"),
        SenonePriors(np.array([1, 2]), "b"),
        SenonePriors(np.array([1, 2]), "a", relative_floor=0.02),
        SenonePriors(np.array([1, 2]), "a", smoothing=2.0),
    ]
    assert len({base.hash, *(other.hash for other in others)}) == 5
    assert SenonePriors(np.array([1.0, 2.0]), "a").hash == base.hash


@pytest.mark.parametrize(
    ("counts", "options"),
    [([-1], {}), ([0.5], {}), ([], {}), ([1], {"relative_floor": 2.0}), ([0, 1], {"relative_floor": 0.0, "smoothing": 0.0})],
)
def test_bad_priors_are_refused(counts: list, options: dict) -> None:
    with pytest.raises(UserError):
        SenonePriors(np.array(counts), "hash", **options)


def test_labels_beyond_the_inventory_are_refused() -> None:
    with pytest.raises(UserError, match="label 3 in an inventory of 3"):
        SenonePriors.from_labels([np.array([3])], 3, "hash")


def test_merged_leaves_are_both_described() -> None:
    topology = default_topology(["A", "B"], [], phone_states=1)
    tree = replace(
        monophone_tree(topology),
        context_width=3,
        questions=(frozenset({1}), frozenset({2})),
        roots={("A", 0): 0, ("B", 0): 5},
        nodes=(Split(0, 0, 1, 2), Leaf(0), Split(2, 1, 3, 4), Leaf(1), Leaf(0), Leaf(2)),
    )
    inventory = SenoneInventory(topology, tree)
    assert inventory.describe(0) == "A[0] left in {A} or left in {<boundary> B} right in {<boundary> A}"


def test_senones_once_shared_by_the_end_of_a_name_stay_usable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``t_S`` as a variant of ``t``, as senones.json had it once: networks trained with it decode as before, and it is said."""
    topology = default_topology(["SIL", "t", "t_S"], ["SIL"], phone_states=1)
    roots = {("SIL", 0): 0, ("t", 0): 1}
    shared = SenoneInventory(topology, PhoneticTree(topology.phones, 1, (), roots, (Leaf(0), Leaf(1))))
    shared.save(tmp_path / "shared.json")
    inventory = SenoneInventory.load(tmp_path / "shared.json")
    assert inventory.hash == shared.hash
    assert [inventory.tree.senone((phone,), 0) for phone in (1, 2, 3)] == [0, 1, 1]
    assert "t_S share the senones of t, as if" in caplog.text

    caplog.clear()
    SenoneInventory(topology, monophone_tree(topology)).save(tmp_path / "apart.json")
    apart = SenoneInventory.load(tmp_path / "apart.json")
    assert [apart.tree.senone((phone,), 0) for phone in (1, 2, 3)] == [0, 1, 2]
    assert not caplog.records
