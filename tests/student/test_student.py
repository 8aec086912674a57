"""Student against the same computation by hand; bundles and their guards."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording

from asr_distill.base import UserError, read_json, write_json
from asr_distill.cli.main import main
from asr_distill.features import Fbank40, Fbank40Config, extract_features
from asr_distill.features.resampling import resample
from asr_distill.models import load_tensors
from asr_distill.student import BundleConfig, Student, set_acoustic_scale
from asr_distill.student.student import dense_scores


def by_hand(bundle: Path, normalised: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log posteriors and log-likelihoods of ``(T, 40)`` normalised features with numpy alone."""
    weights = {name: tensor.double().numpy() for name, tensor in load_tensors(bundle / "model.safetensors").items()}
    rows = np.clip(np.arange(len(normalised))[:, None] + np.arange(-20, 6), 0, len(normalised) - 1)
    activations = normalised[rows].reshape(len(normalised), 1040).astype(np.float64)
    for layer in range(2):
        activations = np.maximum(0, activations @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"])
    logits = activations @ weights["output.weight"].T + weights["output.bias"]
    log_posteriors = (
        logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True)) - logits.max(1, keepdims=True)
    )
    stored = read_json(bundle / "priors.json")
    counts = np.array(stored["counts"]) + stored["smoothing"]
    priors = np.maximum(counts / counts.sum(), stored["relative_floor"] / len(counts))
    return log_posteriors, log_posteriors - np.log(priors / priors.sum())


def standardised(features: np.ndarray, pool: np.ndarray) -> np.ndarray:
    return (features - pool.mean(0)) / pool.std(0)


def test_scores_pool_the_cuts_of_a_speaker_as_by_hand(corpus: Any, fbank: Fbank40) -> None:
    bundle = corpus.train()
    student = Student.load(bundle)
    raw = {cut.id: fbank.extract(cut.load_audio(), 16000) for cut in corpus.cuts}
    speakers = {cut.id: cut.supervisions[0].speaker for cut in corpus.cuts}
    without = CutSet.from_cuts(cut.drop_features() for cut in corpus.cuts)
    for cuts, chunk in ((corpus.cuts, 4096), (without, 4096), (corpus.cuts, 30)):
        scored = list(student.scores(cuts, chunk_frames=chunk))
        assert [cut.id for cut, _, _ in scored] == ["u1", "u3", "u2", "u4"]
        for cut, scores, timings in scored:
            pool = np.concatenate([raw[other] for other in raw if speakers[other] == speakers[cut.id]])
            _, expected = by_hand(bundle, standardised(raw[cut.id], pool))
            np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-3, atol=2e-3)
            assert scores.dtype == torch.float32
            assert scores.shape == (len(raw[cut.id]), corpus.inventory.num_senones)
            assert timings.features > 0
            assert timings.network > 0
            assert timings.duration == cut.duration


@pytest.mark.parametrize("kind", ["none", "utterance", "corpus"])
def test_audio_and_features_give_what_the_arithmetic_says(corpus: Any, fbank: Fbank40, kind: str) -> None:
    bundle = corpus.train(kind=kind)
    student = Student.load(bundle)
    everything = np.concatenate([fbank.extract(cut.load_audio(), 16000) for cut in corpus.cuts])
    cut = corpus.cuts["u3"]
    samples = cut.load_audio()[0]
    raw = fbank.extract(samples, 16000)
    normalised = {"none": raw, "utterance": standardised(raw, raw), "corpus": standardised(raw, everything)}[kind]
    posteriors, likelihoods = by_hand(bundle, normalised)
    tolerance = {"rtol": 1e-3, "atol": 2e-3}
    np.testing.assert_allclose(student.log_posteriors(samples), posteriors, **tolerance)
    np.testing.assert_allclose(student.log_likelihoods(torch.from_numpy(samples)), likelihoods, **tolerance)
    np.testing.assert_allclose(student.log_likelihoods(raw), likelihoods, **tolerance)
    np.testing.assert_allclose(student.log_likelihoods(normalised, normalised=True), likelihoods, **tolerance)
    inputs = student.window(torch.from_numpy(normalised.astype(np.float32)))
    np.testing.assert_allclose(student.log_posteriors(inputs, chunk_frames=7), posteriors, **tolerance)
    np.testing.assert_allclose(np.exp(student.log_posteriors(samples)).sum(1), 1, rtol=1e-5)
    ((_, scores, _),) = student.scores([cut])
    np.testing.assert_allclose(scores, likelihoods, **tolerance)
    with pytest.raises(UserError, match=r"features \(T, 40\).*\(3, 41\)"):
        student.log_posteriors(torch.zeros(3, 41))


def test_a_lone_utterance_is_drawn_towards_a_typical_training_speaker(
    corpus: Any, fbank: Fbank40, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As if it had 200 more frames, of the mean of the speakers' means and their pooled variance."""
    bundle = Path(shutil.copytree(corpus.train(), tmp_path / "bundle"))
    samples = corpus.cuts["u1"].load_audio()[0]
    raw = fbank.extract(samples, 16000).astype(np.float64)
    voices = [np.concatenate([corpus.cuts[name].load_features() for name in names]) for names in (("u1", "u3"), ("u2", "u4"))]
    mean = np.mean([voice.mean(0) for voice in voices], axis=0)
    variance = sum(np.square(voice - voice.mean(0)).sum(0) for voice in voices) / sum(map(len, voices))
    count = 200 + len(raw)
    centre = (200 * mean + raw.sum(0)) / count
    spread = 200 * (variance + np.square(mean - centre)) + np.square(raw - centre).sum(0)
    _, expected = by_hand(bundle, ((raw - centre) / np.sqrt(spread / count)).astype(np.float32))
    np.testing.assert_allclose(Student.load(bundle).log_likelihoods(samples), expected, rtol=1e-3, atol=2e-3)

    write_json(  # a bundle of an earlier version knows no such speaker
        bundle / "normalisation.json",
        {key: value for key, value in read_json(bundle / "normalisation.json").items() if key != "prior_frames"},
        listed=True,
    )
    _, expected = by_hand(bundle, standardised(raw.astype(np.float32), raw.astype(np.float32)))
    np.testing.assert_allclose(Student.load(bundle).log_likelihoods(samples), expected, rtol=1e-3, atol=2e-3)
    with caplog.at_level("INFO", logger="asr_distill"):
        list(Student.load(bundle).scores([corpus.cuts["u1"].drop_supervisions()]))
    assert "next: asr-distill bundle prior MODEL --frames STORE" in caplog.text
    before = Student.load(bundle).hash
    assert main(["bundle", "prior", str(bundle), "--frames", str(corpus.store("speaker")), "--quiet"]) == 0
    _, expected = by_hand(bundle, ((raw - centre) / np.sqrt(spread / count)).astype(np.float32))
    again = Student.load(bundle)
    np.testing.assert_allclose(again.log_likelihoods(samples), expected, rtol=1e-3, atol=2e-3)
    assert again.hash == before  # what is scored by speakers is as it was
    assert main(["bundle", "prior", str(bundle), "--frames", str(corpus.store("utterance")), "--quiet"]) == 1


def test_dense_scores_shift_senones_by_one_and_forbid_label_0() -> None:
    rows = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])]
    infinity = float("inf")
    expected = [[[-infinity, 0.5, 1.0], [-infinity] * 3], [[-infinity, 1.5, 2.0], [-infinity, 2.5, 3.0]]]
    scores, segments = dense_scores(rows, None, 2, 0.5)
    assert scores.tolist() == expected
    assert segments.tolist() == [[0, 0, 1], [1, 0, 2]]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    again, _ = dense_scores(padded, torch.tensor([1, 2]), 2, 0.5)
    assert torch.equal(scores, again)
    numbers, _ = dense_scores([row.numpy() for row in rows], None, 2, 0.5)
    assert torch.equal(scores, numbers)
    for wrong, lengths in (([rows[0][:, :1]], None), ([rows[0][:0]], None), (padded, None), (padded, [1, 3]), ([], None)):
        with pytest.raises(UserError):
            dense_scores(wrong, lengths, 2, 1.0)
    for lengths in ([1], [1, -1], [1, 0], [1, 1.5], [1, math.nan]):
        with pytest.raises(UserError, match=r"expected 2 whole numbers, one an utterance, from 1 to the 2 frames given"):
            dense_scores(padded, lengths, 2, 1.0)
    with pytest.raises(UserError, match="lengths belong to one padded"):
        dense_scores(rows, [1, 2], 2, 1.0)
    for scale in (0.0, math.nan, -1.0):
        with pytest.raises(UserError, match="acoustic scale"):
            dense_scores(rows, None, 2, scale)


def test_arrays_of_every_layout_are_read(corpus: Any) -> None:
    student = Student.load(corpus.train())
    samples = np.random.default_rng(0).standard_normal(4000).astype(np.float32) / 9
    expected = student.log_likelihoods(samples)
    backwards, locked = samples[::-1].copy()[::-1], samples.copy()
    locked.flags.writeable = False
    for same in (backwards, locked, samples.astype(">f4"), samples.astype(np.longdouble), torch.from_numpy(samples)):
        assert torch.equal(student.log_likelihoods(same), expected)
    with pytest.raises(UserError, match="samples are int64, expected floats"):
        student.log_likelihoods(np.zeros(4000, np.uint16))
    with pytest.raises(UserError, match="audio of 0 Hz"):
        student.features(samples, 0)


def test_speech_that_cannot_be_meant_is_refused(corpus: Any) -> None:
    student = Student.load(corpus.train())
    with pytest.raises(UserError, match="samples are int16, expected floats in"):
        student.log_likelihoods(np.zeros(16000, np.int16))
    loud = np.zeros(16000, np.float32)
    loud[7] = -4096.0
    with pytest.raises(UserError, match=r"samples reach 4096, expected floats in \+-1; divide .* by 32768"):
        student.log_likelihoods(loud)
    student.log_likelihoods(loud / 1024)  # louder than full scale is no other unit
    features = torch.zeros(30, 40)
    features[3, 3] = math.nan
    with pytest.raises(UserError, match="NaN or infinity"):
        student.log_likelihoods(features)
    with pytest.raises(UserError, match="chunk_frames is 0"):
        student.log_likelihoods(torch.zeros(30, 40), chunk_frames=0)


def test_k2_finds_the_best_path_through_a_graph_of_the_users(corpus: Any) -> None:
    """A graph that accepts any senones: the best path is the row-wise maximum, its score their sum times the scale."""
    k2 = pytest.importorskip("k2")
    student = Student.load(corpus.train())
    scores = [rows for _, rows, _ in student.scores(corpus.cuts)]
    count = student.num_senones
    lines = [f"0 0 {label} 0.0" for label in range(1, count + 1)] + ["0 1 -1 0.0", "1"]
    graph = k2.arc_sort(k2.Fsa.from_str("\n".join(lines)))
    dense = student.dense_fsa_vec(scores, acoustic_scale=0.3)
    lattice = k2.intersect_dense_pruned(graph, dense, 20.0, 8.0, 1, 10000)
    totals = lattice.get_tot_scores(use_double_scores=True, log_semiring=False)
    np.testing.assert_allclose(totals, [0.3 * rows.double().max(1).values.sum() for rows in scores], rtol=1e-4)
    best = k2.shortest_path(lattice, use_double_scores=True)
    senones = [label - 1 for label in best[0].labels.tolist() if label > 0]
    assert senones == scores[0].argmax(1).tolist()


def test_other_senones_are_refused_with_both_hashes(corpus: Any, tmp_path: Path) -> None:
    bundle = corpus.train()
    student = Student.load(bundle)
    student.check_senones(corpus.inventory.hash, "the graph")
    with pytest.raises(UserError, match=rf"the graph and the model.*abc and {corpus.inventory.hash}"):
        student.check_senones("abc", "the graph")
    other = tmp_path / "other"
    shutil.copytree(bundle, other)
    config = read_json(other / "config.json")
    write_json(other / "config.json", {**config, "senones_hash": "abc"})
    with pytest.raises(UserError, match="different senone inventories"):
        Student.load(other)


def test_bundles_are_strict_and_carry_the_tuned_scale(corpus: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(corpus.train(), bundle)
    assert Student.load(bundle).acoustic_scale is None
    set_acoustic_scale(bundle, 0.1)
    assert Student.load(bundle).acoustic_scale == 0.1
    for wrong in (-1.0, math.inf, math.nan):
        with pytest.raises(UserError, match=r"above 0|expected a finite number"):
            set_acoustic_scale(bundle, wrong)
    config = read_json(bundle / "config.json")
    write_json(bundle / "config.json", {**config, "temperatur": 1})
    with pytest.raises(UserError, match=r"unknown key 'temperatur'.*valid keys"):
        Student.load(bundle)
    write_json(bundle / "config.json", {**config, "format": 2})
    with pytest.raises(UserError, match="format 2"):
        BundleConfig.load(bundle)
    (bundle / "config.json").unlink()
    with pytest.raises(UserError, match=r"not a bundle: it has no config\.json"):
        Student.load(bundle)


def test_a_cut_without_a_speaker_is_normalised_alone_and_told_of_once(corpus: Any, caplog: pytest.LogCaptureFixture) -> None:
    student = Student.load(corpus.train())
    nobody, other = (corpus.cuts[name].drop_supervisions() for name in ("u1", "u2"))
    nameless = corpus.cuts["u4"].map_supervisions(lambda supervision: replace(supervision, speaker=None))
    cuts = [nobody, corpus.cuts["u3"], nameless, other]
    with caplog.at_level("INFO", logger="asr_distill"):
        for _ in range(2):
            scored = list(student.scores(cuts))
            assert [cut.id for cut, _, _ in scored] == ["u1", "u3", "u4", "u2"]
            for cut, scores, _ in scored:
                if cut.id == "u3":  # it has a speaker, whose statistics are those of its cuts here
                    assert not torch.allclose(scores, student.log_likelihoods(cut.load_features()), atol=1e-2)
                    continue
                assert torch.allclose(scores, student.log_likelihoods(cut.load_features()), rtol=1e-4, atol=1e-4)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("cuts without a speaker: 3, the first u1; each is normalised by its own statistics")
    caplog.clear()
    list(Student.load(corpus.train(kind="utterance")).scores(cuts))
    assert not caplog.records


@pytest.mark.parametrize("rate", [8000, 44100])
def test_recordings_and_cuts_of_another_rate_are_resampled(corpus: Any, tmp_path: Path, rate: int) -> None:
    student = Student.load(corpus.train(kind="utterance"))
    assert student.sampling_rate == 16000
    samples = np.random.default_rng(1).normal(0, 0.05, rate // 2).clip(-1, 1).astype(np.float32)
    soundfile.write(tmp_path / "other.wav", samples, rate, subtype="FLOAT")
    recording = Recording.from_file(tmp_path / "other.wav")
    resampled = resample(samples, rate, 16000)
    expected = student.log_likelihoods(resampled)
    ((_, scored, _),) = student.scores([recording.to_cut()])
    for scores in (scored, student.log_likelihoods(recording), student.log_likelihoods(recording.to_cut())):
        assert torch.equal(scores, expected)
    assert torch.equal(student.log_posteriors(recording), student.log_posteriors(resampled))
    assert np.array_equal(student.features(recording), student.features(resampled, 16000))
    assert torch.equal(student.log_likelihoods(corpus.cuts["u1"]), student.log_likelihoods(corpus.cuts["u1"].load_features()))
    with pytest.raises(UserError, match=f"audio of {rate} Hz met a filterbank for 16000 Hz"):
        student.features(samples, rate)
    for reader in (Student.features, Student.log_posteriors):
        assert "Student.sampling_rate" in (reader.__doc__ or "")


def test_cuts_that_do_not_fit_are_named(corpus: Any) -> None:
    student = Student.load(corpus.train())
    cut = corpus.cuts["u1"]
    foreign = corpus.cuts["u2"].drop_features()
    foreign.features = type(cut.features)(**{**cut.features.to_dict(), "num_features": 80})
    with pytest.raises(UserError, match=r"cut u2.*80.*model takes"):
        list(student.scores([foreign]))


def test_stored_features_of_another_configuration_are_refused(corpus: Any, tmp_path: Path) -> None:
    student = Student.load(corpus.train())
    config = replace(Fbank40Config(), low_freq=60.0)
    cuts = list(extract_features([cut.drop_features() for cut in corpus.cuts], tmp_path / "fbank", config).cuts)
    list(student.scores(cuts))  # nothing says how they were made
    write_json(tmp_path / "fbank.json", {"low_freq": 60.0})
    with pytest.raises(UserError, match=r"cut u1.*fbank.json.* \(low_freq: 60.0 and 20.0\); compute"):
        list(Student.load(corpus.train()).scores(cuts))
