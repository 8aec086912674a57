"""Ensembles against numpy and against their members, the folder's guards, folds, and the teacher on the fly."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from asr_distill.base import UserError, read_json, write_json
from asr_distill.data import FrameStore, WindowGatherer
from asr_distill.distillation import combine_posteriors, soften
from asr_distill.features import Fbank40
from asr_distill.models import load_tensors, save_tensors
from asr_distill.senones import SenoneInventory, SenonePriors, default_topology, monophone_tree
from asr_distill.student import Ensemble, Student, load_model
from asr_distill.student.combination import RunningMean, member_weights, mixture_weights
from asr_distill.student.teachers import ModelTeacher


@pytest.fixture(scope="module")
def bundles(corpus: Any) -> list[Path]:
    """Two seeds of one network, and a wider one with another context window."""
    first = corpus.train("--seeds", "0-1", name="pair")
    window = ["--set", "window.left=3", "--set", "window.right=7", "--set", "network.width=24"]
    return [first, first.parent / "seed1", corpus.train(*window, name="other")]


def alone(bundles: list[Path], samples: np.ndarray) -> np.ndarray:
    """``(M, T, C)``: what each bundle says by itself."""
    return np.stack([Student.load(bundle).log_posteriors(samples).double().numpy() for bundle in bundles])


def combined(members: np.ndarray, mode: str, weights: list[float] | None) -> np.ndarray:
    """numpy's log of the mean, of the normalised geometric mean, or of the member with the largest weight."""
    if mode == "best":
        return members[int(np.argmax(weights))]
    if mode == "geometric":
        mean = members.mean(0)
        return mean - logsumexp(mean, axis=-1, keepdims=True)
    return np.log(np.average(np.exp(members), axis=0, weights=weights))


MODES = [("arithmetic", None), ("geometric", None), ("weighted", [1.0, 0.0, 3.0]), ("best", [0.2, 0.5, 0.1])]


def test_two_members_by_hand() -> None:
    first, second = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    for mode, weights, expected in (
        ("arithmetic", (0.5, 0.5), [0.7, 0.3]),
        ("geometric", (0.5, 0.5), [0.75, 0.25]),  # sqrt(0.45) : sqrt(0.05) = 3 : 1
        ("weighted", (0.25, 0.75), [0.8, 0.2]),
    ):
        mean = RunningMean(mode)
        mean.add(first.clone(), weights[0])
        mean.add(second.clone(), weights[1])
        np.testing.assert_allclose(mean.result().exp()[0], expected, rtol=1e-6)
    assert member_weights("weighted", [1.0, 0.0, 3.0], [0, 2], 3) == [0.25, 0.75]
    assert member_weights("arithmetic", None, [0, 2], 3) == [0.5, 0.5]
    assert member_weights("best", [0.3, 0.9, 0.5], [0, 2], 3) == [0.0, 1.0]
    with pytest.raises(ValueError, match="all 0"):
        member_weights("weighted", [1.0, 0.0], [1], 2)


@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from(["arithmetic", "geometric", "weighted"]), st.floats(0.1, 200))
def test_the_running_mean_is_the_mean_of_the_stack(seed: int, size: int, mode: str, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    members = torch.log_softmax(spread * torch.randn(size, 3, 7, generator=generator, dtype=torch.float64), dim=-1)
    weights = torch.rand(size, generator=generator).add(0.01).tolist() if mode == "weighted" else None
    mean = RunningMean(mode)
    for member, weight in zip(members, member_weights(mode, weights, range(size), size), strict=True):
        mean.add(member.clone(), weight)
    np.testing.assert_allclose(mean.result(), combine_posteriors(members, mode, weights), rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**31), st.integers(2, 4))
def test_mixture_weights_are_where_no_other_fits_better(seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.random((size, 50)) ** 3 + 1e-9
    weights = np.array(mixture_weights(torch.from_numpy(np.log(probabilities))))
    assert weights.sum() == pytest.approx(1)
    reached = np.log(weights @ probabilities).mean()
    for other in generator.dirichlet(np.ones(size), 50):
        assert np.log(other @ probabilities).mean() < reached + 1e-4


def test_mixture_weights_by_hand() -> None:
    infinity = float("inf")
    assert mixture_weights(torch.tensor([[0.0, 0.0], [-infinity, -infinity]])) == pytest.approx([1.0, 0.0], abs=1e-6)
    # three frames that only the first knows, one that only the second knows, one that nobody knows
    rows = torch.full((2, 5), -infinity)
    rows[0, :3] = rows[1, 3] = -1.0
    assert mixture_weights(rows) == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(("mode", "weights"), MODES)
def test_modes_are_what_numpy_says_whatever_the_members_windows(
    bundles: list[Path], corpus: Any, mode: str, weights: list[float] | None
) -> None:
    samples = corpus.cuts["u3"].load_audio()[0]
    ensemble = Ensemble.of_bundles(bundles, mode, weights)
    assert (ensemble.window.left, ensemble.window.right) == (20, 7)
    expected = combined(alone(bundles, samples), mode, weights)
    np.testing.assert_allclose(ensemble.log_posteriors(samples), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ensemble.log_posteriors(samples, chunk_frames=9), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ensemble.log_posteriors(samples).exp().sum(1), 1, rtol=1e-5)
    log_priors = SenonePriors.load(bundles[0] / "priors.json").log_priors
    np.testing.assert_allclose(ensemble.log_likelihoods(samples), expected - log_priors, rtol=1e-4, atol=1e-4)


def test_an_ensemble_of_one_scores_as_its_member(bundles: list[Path], corpus: Any, tmp_path: Path) -> None:
    Ensemble.of_bundles(bundles[:1]).save(tmp_path)
    ensemble, student = load_model(tmp_path), load_model(bundles[0])
    assert isinstance(ensemble, Ensemble)
    assert not isinstance(student, Ensemble)
    for (cut, scores, _), (same, expected, _) in zip(ensemble.scores(corpus.cuts), student.scores(corpus.cuts), strict=True):
        assert cut.id == same.id
        assert torch.equal(scores, expected)
    assert ensemble.priors.hash == student.priors.hash
    assert ensemble.hash != student.hash


def test_a_store_is_read_once_for_all_windows(bundles: list[Path], corpus: Any) -> None:
    """Inputs gathered for the ensemble's window hold every member's inputs, edges of a cut included."""
    store = FrameStore.open(corpus.store("speaker"))
    ensemble = Ensemble.of_bundles(bundles)
    frames = torch.arange(store.num_frames)
    found = list(ensemble.member_log_posteriors(WindowGatherer(store, 20, 7).gather(frames)))
    for rows, member in zip(found, ensemble.members, strict=True):
        inputs = WindowGatherer(store, member.window.left, member.window.right).gather(frames)
        np.testing.assert_allclose(rows, member.log_posteriors(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["arithmetic", "geometric"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_teacher_on_the_fly_softens_the_ensemble_or_its_members(
    bundles: list[Path], corpus: Any, mode: str, temperature: float
) -> None:
    ensemble = Ensemble.of_bundles(bundles[:2], mode)
    inputs = torch.randn(7, 1040, generator=torch.Generator().manual_seed(1))
    logs = np.stack([member.log_posteriors(inputs).double().numpy() for member in ensemble.members])
    softened = np.log(softmax(logs / temperature, axis=-1))
    after = combined(softened, mode, None)
    before = np.log(softmax(combined(logs, mode, None) / temperature, axis=-1))
    found = {how: ensemble.soft_log_posteriors(inputs, temperature, soften=how) for how in ("ensemble", "members")}
    np.testing.assert_allclose(found["ensemble"], before, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["members"], after, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["ensemble"], soften(ensemble.log_posteriors(inputs), temperature), rtol=1e-5, atol=1e-5)
    teacher = ModelTeacher(ensemble, temperature, "members")
    assert torch.equal(teacher({"inputs": inputs}), found["members"])
    assert not found["members"].requires_grad
    rounded = ensemble.soft_log_posteriors(inputs, temperature, autocast="bf16")
    np.testing.assert_allclose(rounded.exp(), np.exp(before), atol=0.02)
    assert (rounded - found["ensemble"]).abs().max() > 0
    with pytest.raises(UserError, match="ensemble or members"):
        ensemble.soft_log_posteriors(inputs, temperature, soften="both")
    with pytest.raises(UserError, match=r"\(N, 1040\).*\(7, 40\)"):
        ensemble.soft_log_posteriors(inputs[:, :40], temperature)


@pytest.mark.parametrize("mode", ["arithmetic", "geometric"])
def test_priors_that_differ_are_combined_as_the_posteriors_are(bundles: list[Path], tmp_path: Path, mode: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundles[1], copy)
    old = SenonePriors.load(copy / "priors.json")
    other = SenonePriors(old.counts[::-1] + 5, old.inventory_hash)
    other.save(copy / "priors.json")
    write_json(copy / "config.json", {**read_json(copy / "config.json"), "priors_hash": other.hash})
    ensemble = Ensemble.of_bundles([bundles[0], copy], mode)
    expected = combined(np.stack([old.log_priors, other.log_priors]).astype(np.float64), mode, None)
    np.testing.assert_allclose(ensemble.priors.log_priors, expected, rtol=1e-6)
    assert ensemble.config.priors_hash == ensemble.priors.hash != old.hash


def test_out_of_fold_members_answer_for_the_cuts_that_they_have_not_seen(
    bundles: list[Path], corpus: Any, fbank: Fbank40, tmp_path: Path
) -> None:
    folds = {"ann": [1], "bob": [0, 2], "u4": [2], "*": [0, 1, 2]}
    Ensemble.of_bundles(bundles, folds=folds).save(tmp_path)
    ensemble = load_model(tmp_path)
    samples = corpus.cuts["u2"].load_audio()[0]
    raw = fbank.extract(samples, 16000)
    answers = alone(bundles, samples)
    for cut_id, speaker, expected in (
        ("u1", "ann", answers[1]),
        ("u2", "bob", combined(answers[[0, 2]], "arithmetic", None)),
        ("u4", "bob", answers[2]),
        ("u9", None, combined(answers, "arithmetic", None)),
    ):
        np.testing.assert_allclose(ensemble.log_posteriors_for(cut_id, speaker, raw), expected, rtol=1e-4, atol=1e-4)
    by_cut = Ensemble.of_bundles(bundles, folds={"u1": [1], "*": [0, 1, 2]})
    assert by_cut.members_for("u1_sp0.9", "ann") == [1]  # members 0 and 2 have heard the original
    assert by_cut.members_for("u2_sp0.9", "bob") == [0, 1, 2]
    strict = Ensemble.of_bundles(bundles, folds={"ann": [1]})
    with pytest.raises(UserError, match=r"no entry for cut 'u2' or speaker 'bob'"):
        strict.log_posteriors_for("u2", "bob", raw)
    with pytest.raises(UserError, match="with folds cannot be asked on the fly"):
        strict.soft_log_posteriors(torch.zeros(1, 28 * 40), 2.0)
    whole = Ensemble.of_bundles(bundles)
    assert torch.equal(whole.log_posteriors_for("u2", "bob", raw), whole.log_posteriors(raw))
    member = Student.load(bundles[0])
    assert torch.equal(member.log_posteriors_for("u2", "bob", raw), member.log_posteriors(raw))
    for wrong in ({"ann": [3]}, {"ann": []}, {"ann": [1, 1]}, {"ann": 1}, {"ann": [True]}):
        with pytest.raises(UserError, match=r"'ann' has .* from 0 to 2"):
            Ensemble.of_bundles(bundles, folds=wrong)
    with pytest.raises(UserError, match=r"'ann': the weights of members \[1\] are all 0"):
        Ensemble.of_bundles(bundles, "weighted", [1.0, 0.0, 1.0], folds=folds)
    with pytest.raises(UserError, match="weights must be 3 finite numbers"):
        Ensemble.of_bundles(bundles, "weighted", [1.0], folds=folds)


def _altered(bundle: Path) -> None:
    tensors = load_tensors(bundle / "model.safetensors")
    tensors["output.bias"][0] += 1e-3
    save_tensors(bundle / "model.safetensors", tensors)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: _altered(folder / "b"), r"member .*/b of .* another model"),
        (lambda folder: shutil.rmtree(folder / "b"), r"the member .*/b is missing"),
        (lambda folder: (folder / "b" / "config.json").unlink(), r"/b is not a bundle"),
        (lambda folder: _edit(folder, mode="geometric"), "it was altered"),
        (lambda folder: _edit(folder, hashes=["x"]), "2 members and 1 hashes"),
        (lambda folder: _edit(folder, format=2), "format 2"),
        (lambda folder: _edit(folder, kind="band"), "expected one of ensemble"),
        (lambda folder: _edit(folder, weigths=[1]), "unknown key 'weigths'"),
    ],
)
def test_an_altered_folder_is_refused_by_name(
    bundles: list[Path], tmp_path: Path, break_it: Callable[[Path], None], message: str
) -> None:
    for name, bundle in zip("ab", bundles, strict=False):
        shutil.copytree(bundle, tmp_path / "first" / name)
    Ensemble.of_bundles([tmp_path / "first" / name for name in "ab"]).save(tmp_path / "first" / "both")
    assert read_json(tmp_path / "first" / "both" / "ensemble.json")["members"] == ["../a", "../b"]
    folder = tmp_path / "moved"
    (tmp_path / "first").rename(folder)
    load_model(folder / "both")
    break_it(folder)
    with pytest.raises(UserError, match=message):
        load_model(folder / "both")


def _edit(folder: Path, **values: Any) -> None:
    path = folder / "both" / "ensemble.json"
    write_json(path, {**read_json(path), **values})


def test_a_tuned_acoustic_scale_leaves_a_member_what_it_is(bundles: list[Path], tmp_path: Path) -> None:
    from asr_distill.student import set_acoustic_scale

    copy = tmp_path / "copy"
    shutil.copytree(bundles[0], copy)
    Ensemble.of_bundles([copy, bundles[1]]).save(tmp_path / "both")
    set_acoustic_scale(copy, 0.2)
    assert load_model(tmp_path / "both").acoustic_scale is None


def test_members_that_do_not_fit_are_named(bundles: list[Path], corpus: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pair/seed0 normalises per speaker, .*/none/seed0 per none"):
        Ensemble.of_bundles([bundles[0], corpus.train(kind="none")])
    with pytest.raises(UserError, match="are the same model"):
        Ensemble.of_bundles([bundles[1], bundles[0], bundles[0]])
    with pytest.raises(UserError, match="at least one member"):
        Ensemble([])
    Ensemble.of_bundles(bundles[:2]).save(tmp_path / "both")
    with pytest.raises(UserError, match="both is an ensemble itself"):
        Ensemble.of_bundles([tmp_path / "both", bundles[2]])
    for mode, weights, message in (
        ("median", None, "mode 'median'"),
        ("weighted", None, "needs weights"),
        ("weighted", [1.0], "2 finite numbers"),
        ("weighted", [0.0, 0.0], "positive sum"),
        ("geometric", [1.0, 1.0], "takes no weights"),
    ):
        with pytest.raises(UserError, match=message):
            Ensemble.of_bundles(bundles[:2], mode, weights)
    with pytest.raises(UserError, match="holds a model bundle"):
        Ensemble.of_bundles(bundles[:2]).save(bundles[2])
    members = [Student.load(bundle) for bundle in bundles[:2]]
    with pytest.raises(UserError, match="read from bundles"):
        Ensemble(members).save(tmp_path / "memory")
    topology = default_topology(["SIL", "A", "C"], ["SIL"])
    foreign = SenoneInventory(topology, monophone_tree(topology))
    members[1].inventory = foreign
    with pytest.raises(UserError, match=rf"member 1 and member 0 .* {foreign.hash} and {corpus.inventory.hash}"):
        Ensemble(members)
    with pytest.raises(UserError, match="not a bundle"):
        load_model(tmp_path / "nowhere")
    Ensemble.of_bundles(bundles[:2]).save(tmp_path / "pair")
    with pytest.raises(UserError, match=r"it is an ensemble, which asr_distill\.student\.load_model opens"):
        Student.load(tmp_path / "pair")
    with pytest.raises(UserError, match="chunk_frames is 0, expected at least 1"):
        Ensemble.of_bundles(bundles[:2]).log_posteriors(torch.zeros(5, 40), chunk_frames=0)
