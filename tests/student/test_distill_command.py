"""``asr-distill distill``: students from a store, from a teacher on the fly, and a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.data import FrameStore
from asr_distill.distillation import SoftTargetStore, distillation_loss
from asr_distill.models import load_tensors
from asr_distill.student import Ensemble, Student
from asr_distill.student.teachers import ModelTeacher
from asr_distill.training import precision
from asr_distill.training.distillation import Distillation, StoredTeacher


@pytest.fixture(scope="module")
def targets(corpus: Any) -> Path:
    """Dense targets of one bundle for every frame of the corpus."""
    path = corpus.folder / "targets"
    teacher = Student.load(corpus.train())
    frames = FrameStore.open(corpus.store("speaker"))
    options = {"senones_hash": corpus.inventory.hash, "teacher": {"hash": "of the teacher"}}
    with SoftTargetStore.create(path, mode="dense", num_classes=corpus.inventory.num_senones, **options) as writer:
        for cut in frames:
            features = torch.from_numpy(frames.features[cut.start : cut.end].copy())
            writer.add(cut.id, teacher.log_posteriors(features, normalised=True))
    return path


def write_targets(corpus: Any, path: Path, mode: str, *temperatures: float) -> Path:
    """What the tiny model says about the corpus, in another mode of the store."""
    words = ["--teacher", str(corpus.train()), "--frames", str(corpus.store("speaker")), "--mode", mode, "--quiet"]
    given = ",".join(f"{value:g}" for value in temperatures)
    options = {"topk": ["--top-k", "3", "--tail-rank", "0", "--temperatures", given], "sampled": ["--temperatures", given]}[
        mode
    ]
    assert main(["soft-targets", *words, *options, "--output", str(path)]) == 0
    return path


def distil(corpus: Any, output: Path, *words: str) -> int:
    stores = ["--train", str(corpus.store("speaker")), "--dev", str(corpus.store("speaker")), "--allow-shared-speakers"]
    files = ["--inventory", str(corpus.folder / "senones.json"), "--priors", str(corpus.folder / "priors.json")]
    network = [word for option in ("layers=1", "width=8") for word in ("--set", f"network.{option}")]
    options = [*network, "--set", "epochs=1", "--set", "batch_size=64", "--threads", "1", "--quiet"]
    return main(["distill", *stores, *files, *options, "--output", str(output), *words])


def test_a_batch_gets_the_targets_of_its_frames(corpus: Any, targets: Path) -> None:
    frames = FrameStore.open(corpus.store("speaker"))
    store = SoftTargetStore.open(targets)
    objective = Distillation(StoredTeacher(store, frames, 2.0), soft_weight=0.7, hard_weight=0.5)
    cut = frames.cut("u3")
    indices = torch.tensor([cut.start + 4, cut.end - 1, cut.start])
    labels = torch.tensor([1, -100, 0])
    logits = torch.randn(3, corpus.inventory.num_senones, generator=torch.Generator().manual_seed(1))
    loss, counts = objective(logits, {"frame_indices": indices, "labels": labels})
    stored = store.log_probs("u3", 1.0)[[4, -1, 0]]
    expected = distillation_loss(logits, stored, labels, temperature=2.0, soft_weight=0.7, hard_weight=0.5)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert int(counts["labelled"]) == 2


def test_a_student_is_a_bundle_like_any_other(corpus: Any, targets: Path, tmp_path: Path) -> None:
    assert distil(corpus, tmp_path / "student", "--soft-targets", str(targets), "-T", "2", "--seeds", "0") == 0
    student = Student.load(tmp_path / "student" / "seed0")
    objective = student.config.training["objective"]
    assert (objective["temperature"], objective["soft_weight"], objective["hard_weight"]) == (2.0, 1.0, 0.5)
    assert objective["teacher"]["store"] == SoftTargetStore.open(targets).hash
    assert student.inventory.hash == corpus.inventory.hash


def test_another_temperature_is_another_run(corpus: Any, targets: Path, tmp_path: Path, capsys: Any) -> None:
    assert distil(corpus, tmp_path / "student", "--soft-targets", str(targets), "-T", "2") == 0
    assert distil(corpus, tmp_path / "student", "--soft-targets", str(targets), "-T", "3") == 1
    assert "temperature" in capsys.readouterr().err


def test_store_and_teacher_on_the_fly_agree(corpus: Any, targets: Path, tmp_path: Path, capsys: Any) -> None:
    for name, teacher in (("stored", ["--soft-targets", str(targets)]), ("live", ["--teacher", str(corpus.train())])):
        words = [*teacher, "-T", "2", "--hard-weight", "0", "--set", "autocast=off", "--json"]
        assert distil(corpus, tmp_path / name, *words) == 0
    losses = [
        json.loads(line)["models"][0]["train_loss"] for line in capsys.readouterr().out.splitlines() if line.startswith("{")
    ]
    assert losses[-1] == pytest.approx(losses[-2], rel=2e-3)  # the store has 16 bits


@pytest.mark.parametrize(
    ("words", "processor_has_bf16", "rounds"),
    [([], True, True), ([], False, False), (["--set", "autocast=off"], True, False)],
)
def test_on_the_fly_the_teacher_answers_in_the_students_precision(
    corpus: Any, targets: Path, tmp_path: Path, monkeypatch: Any, words: list[str], processor_has_bf16: bool, rounds: bool
) -> None:
    frames, store, variations = FrameStore.open(corpus.store("speaker")), SoftTargetStore.open(targets), []
    stored, ask = StoredTeacher(store, frames, 1.0), ModelTeacher.__call__

    def asked(self: ModelTeacher, batch: Any) -> torch.Tensor:
        answer = ask(self, batch)
        variations.append(0.5 * (answer.exp() - stored(batch).exp()).abs().sum(1))
        return answer

    monkeypatch.setattr(precision, "has_bf16", lambda device: processor_has_bf16)
    monkeypatch.setattr(ModelTeacher, "__call__", asked)
    assert distil(corpus, tmp_path / "student", "--teacher", str(corpus.train()), *words) == 0
    found = torch.cat(variations)
    assert len(found) == frames.num_frames
    assert found.max() < (0.026 if rounds else 3e-4)
    assert (found.mean() > 3e-4) == rounds


@pytest.mark.parametrize("mode", ["topk", "sampled"])
def test_matched_logits_need_a_logit_for_every_class(corpus: Any, tmp_path: Path, capsys: Any, mode: str) -> None:
    path = write_targets(corpus, tmp_path / mode, mode, 1)
    words = ["--soft-targets", str(path), "--hard-weight", "0", "--loss"]
    assert distil(corpus, tmp_path / "student", *words, "logits") == 1
    message = capsys.readouterr().err
    assert f"the targets of {path} are {mode}" in message
    assert "--mode dense" in message
    assert "--teacher" in message
    assert not (tmp_path / "student").exists()
    assert distil(corpus, tmp_path / "corrected", *words, "corrected") == 0

    store, frames = SoftTargetStore.open(path), FrameStore.open(corpus.store("speaker"))
    batch = {"frame_indices": torch.arange(3), "labels": torch.zeros(3, dtype=torch.int64)}
    objective = Distillation(StoredTeacher(store, frames, 1.0), hard_weight=0.0, variant="logits")
    with pytest.raises(UserError, match="--mode dense"):
        objective(torch.zeros(3, corpus.inventory.num_senones), batch)


def test_logits_of_a_dense_store_and_of_a_teacher_are_matched(corpus: Any, targets: Path, tmp_path: Path) -> None:
    for name, teacher in (("stored", ["--soft-targets", str(targets)]), ("live", ["--teacher", str(corpus.train())])):
        assert distil(corpus, tmp_path / name, *teacher, "--loss", "logits", "--hard-weight", "0") == 0


def test_matched_logits_know_the_temperature_only_of_members_softened_one_by_one(corpus: Any, tmp_path: Path) -> None:
    teacher = Ensemble.of_bundles([corpus.train(), corpus.train("--seeds", "1").parent / "seed1"])
    batch = {"inputs": torch.randn(3, 1040, generator=torch.Generator().manual_seed(0)), "labels": torch.full((3,), -1)}
    logits = torch.randn(3, corpus.inventory.num_senones, generator=torch.Generator().manual_seed(1))

    def loss(temperature: float, soften: str) -> float:
        taught = ModelTeacher(teacher, temperature, soften)
        return Distillation(taught, hard_weight=0.0, variant="logits")(logits, batch)[0].item()

    assert loss(5.0, "ensemble") == pytest.approx(loss(1.0, "ensemble"), rel=1e-4)
    assert loss(5.0, "members") != pytest.approx(loss(1.0, "members"), rel=1e-3)
    words = ["--teacher", str(corpus.train()), "--loss", "logits", "-T", "1,2", "--hard-weight", "0"]
    assert distil(corpus, tmp_path / "sweep", *words) == 1
    assert distil(corpus, tmp_path / "sweep", *words, "--soften", "members") == 0
    assert distil(corpus, tmp_path / "one", *words[:-3], "2", "--hard-weight", "0") == 0


def test_a_sweep_names_its_best_point_and_the_next_run_takes_it(corpus: Any, targets: Path, tmp_path: Path) -> None:
    words = ["--soft-targets", str(targets), "-T", "1,4", "--hard-weight", "0,1"]
    assert distil(corpus, tmp_path / "sweep", *words) == 0
    sweep = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert {(point["temperature"], point["hard_weight"]) for point in sweep["points"]} == {(1, 0), (1, 1), (4, 0), (4, 1)}
    assert sweep["chosen"]["dev_accuracy"] == max(point["dev_accuracy"] for point in sweep["points"])
    point = ["--soft-targets", str(targets), "--point", str(tmp_path / "sweep" / "sweep.json")]
    assert distil(corpus, tmp_path / "chosen", *point) == 0
    objective = Student.load(tmp_path / "chosen" / "seed0").config.training["objective"]
    assert objective["temperature"] == sweep["chosen"]["temperature"]


def test_a_sweep_is_refused_before_its_first_point_is_trained(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    path = write_targets(corpus, tmp_path / "topk", "topk", 1, 2)
    for more in ([], ["--jobs", "2"]):
        words = ["--soft-targets", str(path), "-T", "1,2,3", "--hard-weight", "0", *more]
        assert distil(corpus, tmp_path / "sweep", *words) == 1
        assert f"{path} was not written for temperature 3: it holds the tail's mass for 1, 2" in capsys.readouterr().err
        assert not (tmp_path / "sweep").exists()


def test_options_that_would_do_nothing_are_refused(corpus: Any, targets: Path, tmp_path: Path, capsys: Any) -> None:
    point = tmp_path / "sweep.json"
    point.write_text(json.dumps({"chosen": {"temperature": 3, "hard_weight": 0}}))
    stored = ["--soft-targets", str(targets)]
    for words, message in (
        (["--point", str(point), "-T", "1"], f"--temperature 1 beside --point {point}"),
        (["--point", str(point), "--hard-weight", "0.5"], f"--hard-weight 0.5 beside --point {point}"),
        (["--point", str(point), "-T", "1,2", "--hard-weight", "0"], "--temperature 1,2 and --hard-weight 0 beside --point"),
        (["--soften", "members"], "--soften members: a store holds what was combined already"),
        (["--soften", "ensemble"], "--soften ensemble: a store holds"),
        (["--loss", "logits", "-T", "1,2"], "--temperature 1,2 with --loss logits: the temperature has no influence on it"),
        (["--soft-weight", "0", "-T", "1,2.5"], "--temperature 1,2.5 with --soft-weight 0: the temperature has no influence"),
    ):
        assert distil(corpus, tmp_path / "student", *stored, *words) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "student").exists()


def test_what_is_left_out_has_its_default(corpus: Any, tmp_path: Path) -> None:
    live = ["--teacher", str(corpus.train()), "--set", "tensorboard=false"]
    assert distil(corpus, tmp_path / "default", *live) == 0
    assert distil(corpus, tmp_path / "members", *live, "--soften", "members", "--seeds", "0-1", "--jobs", "2") == 0
    assert distil(corpus, tmp_path / "configured", *live, "--set", "seed=7") == 0
    assert Student.load(tmp_path / "configured" / "seed7").config.training["seed"] == 7
    found = Student.load(tmp_path / "default" / "seed0").config.training["objective"]
    assert (found["temperature"], found["hard_weight"], found["teacher"]["soften"]) == (1.0, 0.5, "ensemble")
    for seed in (0, 1):
        found = Student.load(tmp_path / "members" / f"seed{seed}").config.training["objective"]
        assert found["teacher"]["soften"] == "members"


@pytest.mark.parametrize("chosen", [{"temperature": None, "hard_weight": 0}, {"temperature": -2, "hard_weight": 0}, {}])
def test_a_point_that_is_none_is_refused(
    corpus: Any, targets: Path, tmp_path: Path, capsys: Any, chosen: dict[str, Any]
) -> None:
    (tmp_path / "sweep.json").write_text(json.dumps({"chosen": chosen}))
    assert distil(corpus, tmp_path / "s", "--soft-targets", str(targets), "--point", str(tmp_path / "sweep.json")) == 1
    assert "sweep.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-T", "0"], "above 0"),
        (["-T", "a"], "numbers between commas"),
        (["-T", "inf"], "finite values above 0"),
        (["-T", "2,1e20"], "--temperature 2,1e20: temperature 1e+20 is outside 1e-06 to 1e+06"),
        (["--hard-weight", "-1"], "0 or more"),
        (["--hard-weight", "nan"], "finite values of 0 or more"),
        (["--soft-weight", "-1"], "soft_weight must be finite and at least 0"),
        (["--loss", "convex", "--hard-weight", "0.5"], "weights that sum to 1"),
        (["--soft-weight", "0", "--hard-weight", "0"], "nothing to learn from"),
        (["--set", "label_smoothing=0.1"], "label_smoothing=0"),
    ],
)
def test_settings_that_make_no_sense(
    corpus: Any, targets: Path, tmp_path: Path, capsys: Any, words: list[str], message: str
) -> None:
    assert distil(corpus, tmp_path / "student", "--soft-targets", str(targets), *words) == 1
    assert message in capsys.readouterr().err


def test_a_point_that_is_no_sweep_is_refused(corpus: Any, targets: Path, tmp_path: Path, capsys: Any) -> None:
    for content in ("[]", '{"chosen": 2}', "{}"):
        (tmp_path / "sweep.json").write_text(content)
        assert (
            distil(corpus, tmp_path / "student", "--soft-targets", str(targets), "--point", str(tmp_path / "sweep.json")) == 1
        )
        assert "names no chosen temperature" in capsys.readouterr().err


def test_a_teacher_on_the_fly_must_fit_what_it_is_shown(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    other = corpus.train(kind="none", name="unnormalised")
    assert distil(corpus, tmp_path / "student", "--teacher", str(other)) == 1
    assert "normalised per speaker, the teacher per none" in capsys.readouterr().err
    shifted = ["--set", "window.left=19", "--set", "window.right=6"]  # as wide as the teacher's
    assert distil(corpus, tmp_path / "student", "--teacher", str(corpus.train()), *shifted) == 1
    assert "the student sees 19 frames before and 6 after" in capsys.readouterr().err


def test_targets_of_other_frames_are_refused(corpus: Any, targets: Path, tmp_path: Path, capsys: Any) -> None:
    frames = FrameStore.open(corpus.store("speaker"))
    words = ["--teacher", str(corpus.train()), "--frames", str(frames.path), "--mode", "dense", "--quiet"]
    assert main(["soft-targets", *words, "--output", str(tmp_path / "targets")]) == 0
    store = SoftTargetStore.open(tmp_path / "targets")
    assert store.frames == frames.identity
    assert distil(corpus, tmp_path / "student", "--soft-targets", str(store.path)) == 0

    sizes = {"senones_hash": corpus.inventory.hash, "num_senones": corpus.inventory.num_senones}
    unlabelled = FrameStore.create(tmp_path / "unlabelled", corpus.cuts, "speaker", labels_field="none")
    StoredTeacher(store, unlabelled, 2.0)  # labels are no part of what the teacher saw
    fewer = FrameStore.create(tmp_path / "fewer", list(corpus.cuts)[:3], "speaker", **sizes)
    with pytest.raises(UserError, match=r"normalisation.hash: ") as refused:  # speakers' means over fewer cuts are others
        StoredTeacher(store, fewer, 2.0)
    assert frames.identity["hash"] in str(refused.value)
    assert fewer.identity["hash"] in str(refused.value)
    capsys.readouterr()
    other = ["--train", str(corpus.store("none")), "--dev", str(corpus.store("none"))]
    assert distil(corpus, tmp_path / "other", "--soft-targets", str(store.path), *other) == 1
    assert "normalisation.kind: speaker and none" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()

    old = SoftTargetStore.open(targets)
    assert old.frames is None
    StoredTeacher(old, fewer, 2.0)


@pytest.mark.parametrize("loss", ["paper", "convex", "student_at_one", "corrected", "logits"])
def test_labels_alone_need_frames_that_have_some(corpus: Any, targets: Path, tmp_path: Path, capsys: Any, loss: str) -> None:
    FrameStore.create(tmp_path / "unlabelled", corpus.cuts, "speaker", labels_field="none")
    words = ["--soft-targets", str(targets), "--loss", loss, "--train", str(tmp_path / "unlabelled")]
    assert distil(corpus, tmp_path / "student", *words, "--soft-weight", "0", "--hard-weight", "1") == 1
    told = capsys.readouterr().err
    assert f"none of the {FrameStore.open(corpus.store('speaker')).num_frames} frames of {tmp_path / 'unlabelled'}" in told
    assert not (tmp_path / "student").exists()
    if loss == "paper":
        assert distil(corpus, tmp_path / "student", *words) == 0
        row = capsys.readouterr().out.splitlines()[1].split()
        assert row[:4] == ["0", "1", "1", "-"]
        assert float(row[4]) > 0


def test_each_student_starts_from_the_model_of_its_seed(corpus: Any, targets: Path, tmp_path: Path) -> None:
    words = ["--soft-targets", str(targets), "--seeds", "0-1"]
    assert distil(corpus, tmp_path / "first", *words) == 0
    words += ["--initial-model", str(tmp_path / "first/seed{seed}"), "--set", "learning_rate=1e-30"]
    assert distil(corpus, tmp_path / "second", *words) == 0
    for seed in ("seed0", "seed1"):
        first, second = (load_tensors(tmp_path / name / seed / "model.safetensors") for name in ("first", "second"))
        assert all(second[name].equal(first[name]) for name in first)


def test_targets_of_other_senones_or_cuts_are_refused(corpus: Any, tmp_path: Path, capsys: Any) -> None:
    count = corpus.inventory.num_senones
    with SoftTargetStore.create(
        tmp_path / "other", mode="dense", num_classes=count, senones_hash="0" * 64, teacher={}
    ) as writer:
        writer.add("u1", torch.log_softmax(torch.randn(50, count), 1))
    assert distil(corpus, tmp_path / "student", "--soft-targets", str(tmp_path / "other")) == 1
    assert corpus.inventory.hash[:12] in capsys.readouterr().err
