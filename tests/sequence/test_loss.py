"""Losses and gradients against sums over every path, one by one."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from small_speech import (
    SEQUENCES,
    SIL,
    A,
    B,
    monophones,
    occupancies,
    path_scores,
    phone_lm,
    phone_strings,
    triphones,
    weighted_paths,
)

from asr_distill.base import UserError
from asr_distill.graph.k2_form import K2Form
from asr_distill.senones import SenoneInventory
from asr_distill.sequence import Denominator, LatticeFreeLoss, NumeratorBuilder, build_denominator, senones_within
from asr_distill.sequence.loss import graph_of, log_sums

FRAMES = 6


def scores_of(num_frames: int, num_senones: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (num_frames, num_senones))


def two_states(inventory: SenoneInventory | None = None) -> Denominator:
    """State 0 reads senone 0 and stays or senone 1 and moves to state 1, which reads senone 1 and stays, or ends."""
    arcs = np.array([[0, 0, 1], [0, 1, 2], [1, 1, 2], [1, 2, -1]], np.int32)
    form = K2Form(arcs, np.log([0.5, 0.5, 0.7, 0.3]).astype(np.float32), np.array([0, 0, 0, -1], np.int32), 0, ())
    return Denominator(form, phone_lm(), 1.0, 1.0, 0.1, 2, "h")


def test_two_states_by_hand() -> None:
    """Three frames: paths 0 0 1, 0 1 1, 1 1 1. The numerator is the first; the gradient of the loss a difference of shares."""
    pytest.importorskip("k2")
    a = scores_of(3, 2)
    paths = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]])
    weights = np.log([0.5 * 0.5 * 0.5 * 0.3, 0.5 * 0.5 * 0.7 * 0.3, 0.5 * 0.7 * 0.7 * 0.3])
    arcs = np.array([[0, 1, 1], [1, 2, 1], [2, 3, 2], [3, 4, -1]], np.int32)
    one = K2Form(arcs, np.array([0, 0, weights[0], 0], np.float32), np.array([0, 0, 0, -1], np.int32), 0, ())
    scores = torch.tensor(a, dtype=torch.float32, requires_grad=True)
    loss = LatticeFreeLoss(two_states(), acoustic_scale=0.5, tolerance=None, beam=100.0)
    found = loss(scores, [3], torch.tensor([0, 0, 1]), [one])
    totals = path_scores(paths, weights, 0.5 * a)
    assert found.usable.tolist() == [True]
    assert found.losses.item() == pytest.approx(np.logaddexp.reduce(totals) - totals[0], abs=1e-5)
    found.losses.sum().backward()
    expected = 0.5 * (occupancies(paths, totals, 2) - occupancies(paths[:1], totals[:1], 2))
    np.testing.assert_allclose(scores.grad.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("inventory", [monophones(), monophones(2), triphones()], ids=["one state", "two states", "triphones"])
@pytest.mark.parametrize("order", [2, 3])
def test_the_denominator_has_every_path_of_the_language_model_once(inventory: SenoneInventory, order: int) -> None:
    pytest.importorskip("k2")
    lm = phone_lm(order)
    denominator = build_denominator(lm, inventory)
    paths, weights = weighted_paths(list(phone_strings(FRAMES)), lm, inventory, FRAMES)
    assert len(paths) > 5
    a = scores_of(FRAMES, inventory.num_senones)
    scores = torch.tensor(a, dtype=torch.float32, requires_grad=True)
    sums = log_sums(graph_of(denominator.form), [0], scores, [FRAMES], 1000.0)
    totals = path_scores(paths, weights, a)
    assert sums.item() == pytest.approx(np.logaddexp.reduce(totals), abs=1e-3)
    sums.sum().backward()
    np.testing.assert_allclose(scores.grad.numpy(), occupancies(paths, totals, inventory.num_senones), atol=1e-3)


@pytest.mark.parametrize("inventory", [monophones(), triphones()], ids=["monophones", "triphones"])
def test_loss_and_gradient_of_a_batch_against_enumeration(inventory: SenoneInventory) -> None:
    """Utterances of different lengths, not the longest first; the loss is minus the log-probability of the phones."""
    pytest.importorskip("k2")
    lm = phone_lm()
    denominator = build_denominator(lm, inventory)
    builder = NumeratorBuilder(denominator, inventory)
    lengths, spoken = [4, FRAMES, 5], [(SIL, A), (A, B, A), (B, SIL)]
    spoken[0] = (SIL, A, A)
    lengths[0] = 5
    a = [scores_of(length, inventory.num_senones, seed) for seed, length in enumerate(lengths)]
    scores = torch.tensor(np.concatenate(a), dtype=torch.float32, requires_grad=True)
    labels = torch.zeros(sum(lengths), dtype=torch.int64)
    loss = LatticeFreeLoss(denominator, acoustic_scale=0.3, tolerance=None, beam=1000.0)
    numerators = [builder.of_phones(phones, length) for phones, length in zip(spoken, lengths, strict=True)]
    found = loss(scores, lengths, labels, numerators)
    found.losses.sum().backward()
    begin = 0
    for row, (phones, length) in enumerate(zip(spoken, lengths, strict=True)):
        everything = weighted_paths(list(phone_strings(length)), lm, inventory, length)
        own = weighted_paths([phones], lm, inventory, length)
        den, num = (path_scores(*paths, 0.3 * a[row]) for paths in (everything, own))
        assert found.losses[row].item() == pytest.approx(np.logaddexp.reduce(den) - np.logaddexp.reduce(num), abs=1e-3)
        assert found.losses[row].item() > -1e-5
        shares = [occupancies(paths[0], t, inventory.num_senones) for paths, t in ((everything, den), (own, num))]
        np.testing.assert_allclose(scores.grad[begin : begin + length].numpy(), 0.3 * (shares[0] - shares[1]), atol=1e-3)
        begin += length


def test_boost_and_expected_errors_against_enumeration() -> None:
    pytest.importorskip("k2")
    inventory, lm = monophones(), phone_lm()
    denominator = build_denominator(lm, inventory)
    a = scores_of(FRAMES, inventory.num_senones, 3)
    labels = np.array([1, 1, 2, 2, 1, -100])
    paths, weights = weighted_paths(list(phone_strings(FRAMES)), lm, inventory, FRAMES)
    own = weighted_paths([(A, B, A)], lm, inventory, FRAMES)
    errors = ((paths != labels) & (labels >= 0)).sum(1)
    totals = path_scores(paths, weights, 0.4 * a)
    numerator = np.logaddexp.reduce(path_scores(*own, 0.4 * a))
    form = NumeratorBuilder(denominator, inventory).of_phones((A, B, A), FRAMES)

    def found(**options: float | str | None) -> tuple[float, np.ndarray]:
        scores = torch.tensor(a, dtype=torch.float32, requires_grad=True)
        loss = LatticeFreeLoss(denominator, acoustic_scale=0.4, tolerance=None, beam=1000.0, **options)  # type: ignore[arg-type]
        result = loss(scores, [FRAMES], torch.from_numpy(labels), [form])
        result.losses.sum().backward()
        return result.losses.item(), scores.grad.numpy()

    boosted, gradient = found(boost=0.7)
    assert boosted == pytest.approx(np.logaddexp.reduce(totals + 0.7 * errors) - numerator, abs=1e-3)
    count = inventory.num_senones
    expected = occupancies(paths, totals + 0.7 * errors, count) - occupancies(own[0], path_scores(*own, 0.4 * a), count)
    np.testing.assert_allclose(gradient, 0.4 * expected, atol=1e-3)

    risk, gradient = found(criterion="smbr", margin=0.05)
    share = np.exp(totals - np.logaddexp.reduce(totals))
    mean = (share * errors).sum()
    assert risk == pytest.approx(mean, abs=5e-3)
    exact = np.zeros_like(a)
    for path, mass, wrong in zip(paths, share, errors, strict=True):
        exact[np.arange(FRAMES), path] += 0.4 * mass * (wrong - mean)  # the gradient of an expectation is a covariance
    np.testing.assert_allclose(gradient, exact, atol=5e-3)


def test_gradient_by_finite_differences() -> None:
    pytest.importorskip("k2")
    inventory = triphones()
    denominator = build_denominator(phone_lm(), inventory)
    form = NumeratorBuilder(denominator, inventory).of_phones((SIL, A, B, SIL), 9)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 0, 0, 0])
    a = torch.tensor(scores_of(9, inventory.num_senones, 5), dtype=torch.float32)
    for options in ({"tolerance": 2}, {"boost": 0.3, "tolerance": 1}, {"criterion": "smbr", "margin": 0.3}):
        loss = LatticeFreeLoss(denominator, acoustic_scale=0.5, beam=1000.0, **options)  # type: ignore[arg-type]

        def value(scores: torch.Tensor, loss: LatticeFreeLoss = loss) -> torch.Tensor:
            return loss(scores, [9], labels, [form]).losses.sum()

        scores = a.clone().requires_grad_()
        value(scores).backward()
        for frame, senone in [(0, 0), (3, 1), (4, 2), (5, 2), (8, 0)]:
            step = torch.zeros_like(a)
            step[frame, senone] = 0.05
            difference = (value(a + step) - value(a - step)).item() / 0.1
            assert scores.grad[frame, senone].item() == pytest.approx(difference, abs=2e-3)


def test_the_tolerance_keeps_the_numerator_near_the_alignment() -> None:
    pytest.importorskip("k2")
    inventory, lm = monophones(), phone_lm()
    denominator = build_denominator(lm, inventory)
    form = NumeratorBuilder(denominator, inventory).of_phones((A, B, A), FRAMES)
    labels = np.array([1, 1, 1, 2, 2, 1])
    a = scores_of(FRAMES, inventory.num_senones, 7)
    every = np.logaddexp.reduce(path_scores(*weighted_paths(list(phone_strings(FRAMES)), lm, inventory, FRAMES), a))
    paths, weights = weighted_paths([(A, B, A)], lm, inventory, FRAMES)
    previous = np.inf
    for tolerance in (0, 1, 2, None):
        near = paths == labels
        for shift in range(1, 1 + (FRAMES if tolerance is None else tolerance)):
            near[:, shift:] |= paths[:, shift:] == labels[:-shift]
            near[:, :-shift] |= paths[:, :-shift] == labels[shift:]
        kept = near.all(1)
        loss = LatticeFreeLoss(denominator, acoustic_scale=1.0, tolerance=tolerance, beam=1000.0)
        found = loss(torch.tensor(a, dtype=torch.float32), [FRAMES], torch.from_numpy(labels), [form]).losses.item()
        assert found == pytest.approx(every - np.logaddexp.reduce(path_scores(paths, weights, a)[kept]), abs=1e-3)
        assert found < previous + 1e-6
        previous = found


def test_senones_within_by_hand() -> None:
    labels = torch.tensor([0, 1, -100, 2, -100, -100, -100])
    found = senones_within(labels, [3, 4], 3, 1)
    expected = [[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 1, 1], [1, 1, 1]]
    assert found.int().tolist() == expected


def test_an_utterance_without_a_path_is_not_usable_and_changes_nothing_else() -> None:
    """Two frames can't hold three phones, an utterance may have no graph, and scores may forbid all paths."""
    pytest.importorskip("k2")
    inventory = monophones()
    denominator = build_denominator(phone_lm(), inventory)
    builder = NumeratorBuilder(denominator, inventory)
    form = builder.of_phones((A, B, A), 4)
    a = torch.tensor(scores_of(14, inventory.num_senones, 2), dtype=torch.float32)
    a[10:, 1] = -torch.inf
    scores = a.requires_grad_()
    loss = LatticeFreeLoss(denominator, acoustic_scale=0.5, tolerance=None, beam=1000.0)
    labels = torch.zeros(14, dtype=torch.int64)
    found = loss(scores, [4, 2, 4, 4], labels, [form, form, None, form])
    assert found.usable.tolist() == [True, False, False, False]
    assert found.losses[1:].tolist() == [0.0, 0.0, 0.0]
    found.losses.sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[:4].abs().sum() > 0
    assert scores.grad[4:].abs().sum() == 0
    alone = loss(scores[:4], [4], labels[:4], [form])
    assert found.losses[0].item() == pytest.approx(alone.losses[0].item(), abs=1e-6)


def test_wrong_shapes_and_options_are_refused() -> None:
    pytest.importorskip("k2")
    denominator = build_denominator(phone_lm(), monophones())
    for wrong, words in (
        ({"criterion": "ctc"}, "criterion 'ctc'"),
        ({"acoustic_scale": 0.0}, "acoustic scale"),
        ({"acoustic_scale": math.inf}, "acoustic scale inf: expected a finite number above 0"),
        ({"beam": math.nan}, "beam nan"),
        ({"margin": 1e-9}, "margin 1e-09: expected a finite number of at least 0.001"),
        ({"boost": -1.0}, "boost -1"),
        ({"boost": math.nan}, "boost nan"),
        ({"boost": math.inf}, "boost inf: expected a finite number of 0 or more"),
        ({"tolerance": -1}, "tolerance -1"),
    ):
        with pytest.raises(UserError, match=words):
            LatticeFreeLoss(denominator, **wrong)  # type: ignore[arg-type]
    loss = LatticeFreeLoss(denominator)
    with pytest.raises(UserError, match=r"expected scores \(4, 3\)"):
        loss(torch.zeros(4, 5), [4], torch.zeros(4, dtype=torch.int64), [None])
    for labels in (torch.zeros(3, dtype=torch.int64), torch.full((4,), 3)):
        with pytest.raises(UserError, match=r"expected labels \(4,\) below 3"):
            loss(torch.zeros(4, 3), [4], labels, [None])


def test_without_k2_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    denominator = build_denominator(phone_lm(), monophones())
    monkeypatch.setitem(sys.modules, "k2", None)
    with pytest.raises(UserError, match="needs the package 'k2'"):
        LatticeFreeLoss(denominator)


def test_graphs_of_other_senones_are_refused() -> None:
    denominator = build_denominator(phone_lm(), monophones())
    other = triphones()
    with pytest.raises(UserError, match=f"different senone inventories: {other.hash}"):
        NumeratorBuilder(denominator, other)
    with pytest.raises(UserError, match="not in the model"):
        denominator.check(2, monophones().hash)
    denominator.check(3, monophones().hash)
    from asr_distill.sequence import estimate_phone_lm

    with pytest.raises(UserError, match="phone id 4"):
        build_denominator(estimate_phone_lm([*SEQUENCES, (4,)]), monophones())
    for scale in (-1.0, math.nan, math.inf):
        with pytest.raises(UserError, match=f"scale is {scale:g}, expected a finite number of 0 or more"):
            build_denominator(phone_lm(), monophones(), lm_scale=scale)
    with pytest.raises(UserError, match="arcs, allowed are 5"):
        build_denominator(phone_lm(), monophones(), max_arcs=5)
