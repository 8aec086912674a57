"""Utterances through the training loop: batches, objective, resume, the command."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_speech import SIL, A, B, alignment_of, make_store, monophones, phone_lm

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.data import FrameStore
from asr_distill.models import load_tensors
from asr_distill.senones import FrameAlignment, SenonePriors, write_alignments
from asr_distill.sequence import LatticeFreeLoss, NumeratorBuilder, build_denominator
from asr_distill.training import FrameExamples, HardLabels, TrainingConfig, train_model
from asr_distill.training.lattice_free import LatticeFree, make_numerators
from asr_distill.training.utterance_examples import UtteranceExamples

INVENTORY = monophones()
SMALL = TrainingConfig(
    network={"layers": 1, "width": 16},
    learning_rate=0.01,
    epochs=3,
    batch_size=60,
    schedule="constant",
    autocast="off",
    threads=1,
    tensorboard=False,
    keep="last",
)


def alignments() -> dict[str, FrameAlignment]:
    """Twelve utterances of 17 to 28 frames."""
    made = {}
    for number in range(12):
        phones = [(SIL, A, B, SIL), (SIL, A, A), (B, SIL), (A, B, A)][number % 4]
        frames = [5 + (number + place) % 4 + (6 if len(phones) == 2 else 0) for place in range(len(phones))]
        words = (("w", 1, len(phones)),)
        made[f"u{number:02d}"] = alignment_of(phones, frames, words)
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    return make_store(tmp_path_factory.mktemp("speech"), alignments(), INVENTORY)


def utterances(store: FrameStore, cuts: list[int] | None = None) -> UtteranceExamples:
    return UtteranceExamples(FrameExamples(store, INVENTORY.num_senones), cuts)


def objective(store: FrameStore, max_failed_share: float = 0.1, **options: float) -> LatticeFree:
    denominator = build_denominator(phone_lm(), INVENTORY)
    builder = NumeratorBuilder(denominator, INVENTORY)
    numerators = make_numerators(store, alignments(), INVENTORY, builder)
    assert numerators.failures == {}
    loss = LatticeFreeLoss(denominator, acoustic_scale=0.5)
    priors = SenonePriors.load(store.path.parent / "priors.json")
    names = {"names": store.cut_ids, "max_failed_share": max_failed_share}
    return LatticeFree(loss, numerators.graphs, priors=priors, **names, **options)  # type: ignore[arg-type]


class Lengths:
    """Stands for a frame store where only the order of utterances matters."""

    def __init__(self, lengths: list[int]) -> None:
        self.path, self.cut_ids = Path("lengths"), [f"u{i}" for i in range(len(lengths))]
        self.offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        self.num_cuts, self.num_frames, self.dim = len(lengths), int(self.offsets[-1]), 2
        self.labels, self.features = np.zeros(self.num_frames, np.int32), np.zeros((self.num_frames, 2), np.float32)

    def check_finite(self) -> None:
        """Zeros are."""


@given(st.lists(st.integers(1, 30), min_size=1, max_size=25), st.integers(30, 90), st.integers(0, 5), st.integers(0, 3))
def test_batches_are_whole_utterances_once_each_as_many_as_the_loop_counts(
    lengths: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    examples = UtteranceExamples(FrameExamples(Lengths(lengths), 1))  # type: ignore[arg-type]
    batches = list(examples.order(batch_size, seed, epoch, 0))
    assert len(batches) == -(-sum(lengths) // batch_size)
    assert all(0 < len(batch) < batch_size + max(lengths) for batch in batches)
    assert sorted(torch.cat(batches).tolist()) == list(range(sum(lengths)))
    for batch in batches:
        cuts, counts = torch.unique_consecutive(examples.batch(batch)["cuts"], return_counts=True)
        assert counts.tolist() == [lengths[cut] for cut in cuts.tolist()]
        assert len(set(cuts.tolist())) == len(cuts)
    later = list(examples.order(batch_size, seed, epoch, 1))
    assert [batch.tolist() for batch in later] == [batch.tolist() for batch in batches[1:]]


def test_chosen_cuts_keep_their_frames_and_long_ones_need_a_larger_batch(store: FrameStore) -> None:
    examples = utterances(store, [7, 2])
    batch = examples.batch(torch.arange(examples.num_examples))
    expected = np.concatenate([np.arange(store.offsets[cut], store.offsets[cut + 1]) for cut in (2, 7)])
    assert batch["frame_indices"].tolist() == expected.tolist()
    assert batch["labels"].tolist() == store.labels[expected].tolist()
    assert batch["cuts"].tolist() == np.repeat([2, 7], examples.lengths).tolist()
    assert examples.describe() != utterances(store, [7, 3]).describe()
    with pytest.raises(UserError, match="batch_size is 10 frames, the utterance 'u0"):
        next(examples.order(10, 0, 0, 0))
    with pytest.raises(UserError, match="no utterance"):
        utterances(store, [])


def test_with_the_whole_weight_on_frames_it_is_cross_entropy(store: FrameStore) -> None:
    pytest.importorskip("k2")
    examples = utterances(store)
    batch = examples.batch(next(examples.order(60, 0, 0, 0)))
    logits = torch.randn(len(batch["labels"]), INVENTORY.num_senones, generator=torch.Generator().manual_seed(0))
    ours, counts = objective(store, frame_weight=1.0)(logits, batch)
    reference, expected = HardLabels()(logits, batch)
    assert ours.item() == pytest.approx(reference.item(), rel=1e-5)
    assert {name: int(value) for name, value in counts.items()} == {name: int(value) for name, value in expected.items()}
    sequence = objective(store, frame_weight=0.0)(logits, batch)[0].item()
    assert objective(store, frame_weight=0.3)(logits, batch)[0].item() == pytest.approx(0.7 * sequence + 0.3 * ours.item())
    # What is added to all senones of a frame is neither in the numerator's nor in the denominator's favour.
    assert objective(store, frame_weight=0.0)(logits + 7 * torch.randn(len(logits), 1), batch)[0].item() == pytest.approx(
        sequence, abs=1e-4
    )


def test_it_learns_the_utterances_and_a_resumed_run_has_the_same_bits(store: FrameStore, tmp_path: Path) -> None:
    pytest.importorskip("k2")
    dev = FrameExamples(store, INVENTORY.num_senones)

    class Killed(Exception):
        """What stands for a kill."""

    class Dying(LatticeFree):
        calls = 0

        def __call__(
            self, logits: torch.Tensor, batch: Mapping[str, torch.Tensor]
        ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            self.calls += 1
            if self.calls > 7:
                raise Killed
            return super().__call__(logits, batch)

    def train(name: str, chosen: LatticeFree) -> None:
        config = dataclasses.replace(SMALL, checkpoint_minutes=0.0)
        train_model(config, utterances(store), dev, tmp_path / name, chosen)

    train("whole", objective(store))
    dying = objective(store)
    dying.__class__ = Dying
    with pytest.raises(Killed):
        train("killed", dying)
    train("killed", objective(store))
    whole, killed = (load_tensors(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    config = json.loads((tmp_path / "whole" / "config.json").read_text())["training"]
    assert config["objective"]["name"] == "lattice_free"
    rows = (tmp_path / "whole" / "log.csv").read_text().splitlines()
    first, last = (float(row.split(",")[3]) for row in (rows[1], rows[-1]))
    assert last < 0.3 * first
    with pytest.raises(UserError, match="frame_weight"):
        train("whole", objective(store, frame_weight=0.2))


def test_utterances_without_a_numerator_are_named_counted_and_bounded(
    store: FrameStore, caplog: pytest.LogCaptureFixture
) -> None:
    builder = NumeratorBuilder(build_denominator(phone_lm(), INVENTORY), INVENTORY)
    given = alignments()
    del given["u03"]
    shifted = np.roll(store.utterance("u05")[1], 2)
    given["u05"] = alignment_of((SIL, A, A), [len(shifted) - 10, 5, 5])
    given["u07"] = alignment_of((A, B, A), [1, 1, 1])
    caplog.set_level("WARNING", "asr_distill")
    found = make_numerators(store, given, INVENTORY, builder, max_failed_share=0.3)
    assert found.failures["u03"] == "no alignment"
    assert "labels are not those of its alignment" in found.failures["u05"]
    assert "3 in its alignment" in found.failures["u07"]
    assert [store.cut_ids[cut] for cut in range(12) if cut not in found.cuts] == ["u03", "u05", "u07"]
    assert all((found.graphs[cut] is not None) == (cut in found.cuts) for cut in range(12))
    assert "3 of 12 utterances" in caplog.text
    assert "u05: " in caplog.text
    with pytest.raises(UserError, match=r"3 of 12 utterances have no numerator graph, more than the share of 0.2"):
        make_numerators(store, given, INVENTORY, builder, max_failed_share=0.2)
    with pytest.raises(UserError, match="too long"):
        make_numerators(store, given, INVENTORY, builder, max_frames=20, max_failed_share=0.4)
    with pytest.raises(UserError, match=r"max_failed_share is 1\.5, expected a share of the utterances from 0 to 1"):
        make_numerators(store, given, INVENTORY, builder, max_failed_share=1.5)


def test_utterances_whose_scores_allow_no_path_are_left_out_up_to_a_share(
    store: FrameStore, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("k2")
    examples = utterances(store)
    batch = examples.batch(torch.arange(int(store.offsets[4])))
    logits = torch.zeros(len(batch["labels"]), INVENTORY.num_senones)
    whole = objective(store, frame_weight=0.0)
    whole.numerators = [None, *whole.numerators[1:]]
    loss, _ = whole(logits, batch)
    rest = examples.batch(torch.arange(int(store.offsets[1]), int(store.offsets[4])))
    assert loss.item() == pytest.approx(objective(store, frame_weight=0.0)(logits[: len(rest["labels"])], rest)[0].item())
    assert "u00: left out" in caplog.text
    strict = objective(store, max_failed_share=0.05)
    strict.numerators = [None, *strict.numerators[1:]]
    with pytest.raises(UserError, match=r"1 utterances had no path through their graph \(u00\).*; raise --tolerance, or check"):
        strict(logits, batch)
    strict.loss.criterion = "smbr"
    with pytest.raises(UserError, match="that is allowed; check the alignments"):
        strict(logits, batch)
    with pytest.raises(UserError, match=r"max_failed_share is -0\.05, expected"):
        objective(store, max_failed_share=-0.05)


def test_priors_of_other_senones_are_refused(store: FrameStore) -> None:
    pytest.importorskip("k2")
    made = objective(store)
    with pytest.raises(UserError, match="different senone inventories"):
        LatticeFree(made.loss, made.numerators, priors=SenonePriors(np.ones(3), "f" * 64))
    with pytest.raises(UserError, match="frame weight 2"):
        LatticeFree(made.loss, made.numerators, priors=None, frame_weight=2.0)


def test_the_command_fine_tunes_a_bundle(store: FrameStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("k2")
    folder = store.path.parent
    write_alignments(folder / "alignments.jsonl.gz", alignments())
    files = ["--train", str(store.path), "--dev", str(store.path), "--inventory", str(folder / "senones.json")]
    files += ["--priors", str(folder / "priors.json"), "--allow-shared-speakers", "--quiet", "--threads", "1"]
    options = ["network.layers=1", "network.width=16", "epochs=1", "batch_size=60", "tensorboard=false", "autocast=off"]
    settings = [word for option in options for word in ("--set", option)]
    assert main(["train", *files, *settings, "--output", str(tmp_path / "hard")]) == 0
    fine = ["train", *files, *settings, "--set", "keep=last", "--initial-model", str(tmp_path / "hard" / "seed0")]
    aligned = ["--alignments", str(folder / "alignments.jsonl.gz")]
    for name, more in (("lfmmi", []), ("lfmmi", ["--boost", "0.1", "--tolerance", "-1"]), ("smbr", ["--lm-order", "2"])):
        output = tmp_path / f"{name}{len(more)}"
        capsys.readouterr()
        assert main([*fine, *aligned, "--objective", name, *more, "--output", str(output), "--json"]) == 0
        row = json.loads(capsys.readouterr().out)["models"][0]
        assert row["objective"]["criterion"] == ("smbr" if name == "smbr" else "mmi")
        assert row["objective"]["acoustic_scale"] == 0.15
        assert (output / "seed0" / "senones.json").is_file()
    assert main([*fine, "--objective", "lfmmi", "--output", str(tmp_path / "none")]) == 1
    assert "--alignments" in capsys.readouterr().err
    assert main([*fine, *aligned, "--objective", "lfmmi", "--max-frames", "5", "--output", str(tmp_path / "none")]) == 1
    assert "too long" in capsys.readouterr().err
