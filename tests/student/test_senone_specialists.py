"""``asr-distill specialists``: clusters of senones, specialists for each, both together, end to end on noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_distill.base import UserError, read_json, read_jsonl, write_json
from asr_distill.cli.main import main
from asr_distill.cli.specialists.figures import gain_table, split_table
from asr_distill.data import FrameStore
from asr_distill.models import load_network
from asr_distill.senones import SenoneInventory, default_topology, monophone_tree
from asr_distill.specialists import Member, active_specialists, combine, corrected_log_probs, in_parallel
from asr_distill.student import Student, load_model
from asr_distill.student.accuracy import cut_accuracies
from asr_distill.student.senone_clusters import SenoneClusters, cluster_text, find_senone_clusters, senone_names
from asr_distill.student.senone_specialists import HeldOutFrames, SpecialistRun, train_senone_specialist
from asr_distill.student.specialist_combination import SenoneSpecialists, specialist_outcomes
from asr_distill.training import FrameExamples

K, M = 3, 4  # clusters, senones of each


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs an action with --json and returns what it printed, or its error."""

    def run(*words: object) -> Any:
        capsys.readouterr()
        status = main(["specialists", *map(str, words), "--json", "--quiet"])
        printed = capsys.readouterr()
        return json.loads(printed.out) if status == 0 else printed.err

    return run


@pytest.fixture(scope="module")
def generalist(corpus: Any) -> Path:
    return corpus.train(name="generalist_of_specialists")


def training(corpus: Any, generalist: Path, clusters: Path, output: Path, targets: str) -> list[object]:
    store = corpus.store("speaker")
    words: list[object] = ["train", "--clusters", clusters, "--generalist", generalist, "--train", store, "--dev", store]
    words += ["--allow-shared-speakers", "--targets", targets, "--output", output, "--threads", "1", "--epoch-frames", "64"]
    return [*words, *(word for value in ("epochs=2", "batch_size=32", "tensorboard=false") for word in ("--set", value))]


@pytest.fixture(scope="module")
def trained(corpus: Any, generalist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clusters.json, and the specialists hard/ and soft/."""
    folder = tmp_path_factory.mktemp("specialists")
    words = ["--model", generalist, "--frames", corpus.store("speaker"), "--num-clusters", K, "--size", M]
    assert main(["specialists", "cluster", *map(str, words), "--output", str(folder / "clusters.json"), "--quiet"]) == 0
    for targets in ("hard", "soft"):
        words = training(corpus, generalist, folder / "clusters.json", folder / targets, targets)
        assert main(["specialists", *map(str, words), "--quiet"]) == 0
    return folder


def test_clusters_are_of_the_stores_posteriors_and_shown_by_name(
    corpus: Any, generalist: Path, trained: Path, command: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clusters, student = SenoneClusters.load(trained / "clusters.json"), Student.load(generalist)
    store = FrameStore.open(corpus.store("speaker"))
    assert clusters.senones_hash == corpus.inventory.hash
    assert [len(ids) for ids in clusters.classes] == [M] * K
    assert (clusters.source["generalist"], clusters.source["frames"]) == (student.hash, store.num_frames)
    posteriors = torch.cat(
        [student.log_posteriors(torch.from_numpy(np.array(store.utterance(cut)[0])), normalised=True).exp() for cut in range(4)]
    )
    torch.testing.assert_close(clusters.mean, posteriors.mean(dim=0), rtol=1e-4, atol=1e-6)
    assert clusters.names[0] == tuple(
        "{}[{}]".format(*corpus.inventory.tree.senone_info(senone)) for senone in clusters.classes[0].tolist()
    )
    words = ["cluster", "--model", generalist, "--frames", corpus.store("speaker"), "--num-clusters", K, "--size", M]
    again = command(*words, "--output", tmp_path / "again.json")
    assert again["hash"] == clusters.hash
    assert again["clusters"] == [cluster_text(names) for names in clusters.names]
    fewer = command(*words, "--num-frames", 20, "--output", tmp_path / "fewer.json")
    assert (fewer["frames"], fewer["num_clusters"]) == (20, K)
    capsys.readouterr()
    assert main(["specialists", *map(str, words), "--output", str(tmp_path / "text.json")]) == 0
    assert again["clusters"][0] in capsys.readouterr().out


def test_labels_are_not_looked_at(corpus: Any, generalist: Path, trained: Path, tmp_path: Path) -> None:
    """The same clusters from a store without labels."""
    store = FrameStore.create(tmp_path / "unlabelled", [_without_labels(cut) for cut in corpus.cuts], "speaker")
    assert store.senones_hash is None
    found = find_senone_clusters(Student.load(generalist), store, K, size=M)
    assert found.hash == SenoneClusters.load(trained / "clusters.json").hash


def _without_labels(cut: Any) -> Any:
    return replace(cut, custom={key: value for key, value in (cut.custom or {}).items() if key != "senones"})


def test_names_of_a_cluster_by_hand() -> None:
    assert cluster_text(("A[0]", "B[1]", "B[1]", "B[0]", "A[2]")) == "B[0] B[1]x2 A[0] A[2]"
    topology = default_topology(["SIL", "A"], ["SIL"])
    names = senone_names(SenoneInventory(topology, monophone_tree(topology)))
    assert names[-3:] == ["A[0]", "A[1]", "A[2]"]


def test_specialists_are_trained_once_and_say_what_they_are(corpus: Any, generalist: Path, trained: Path, command: Any) -> None:
    student, clusters = Student.load(generalist), SenoneClusters.load(trained / "clusters.json")
    for targets, outputs in (("hard", M + 1), ("soft", corpus.inventory.num_senones)):
        _, config = load_network(trained / targets / "001")
        assert config["network"]["num_senones"] == outputs
        assert config["network"]["dropout"] == 0.1  # the generalist's
        assert (config["generalist"], config["clusters"], config["cluster"]) == (student.hash, clusters.hash, 1)
        assert config["specialist"]["class_ids"] == clusters.classes[1].tolist()
        assert config["specialist"]["full_softmax"] == (targets == "soft")
    times = {path: path.stat().st_mtime_ns for path in trained.glob("*/*/model.safetensors")}
    assert len(times) == 2 * K
    (trained / "hard" / "002" / "completed.json").rename(trained / "hard" / "002" / "kept")
    incomplete = command("combine", "--generalist", generalist, "--specialists", trained / "hard", *_frames(corpus, trained))
    assert "1 of 3 specialists are not trained (002)" in incomplete
    (trained / "hard" / "002" / "kept").rename(trained / "hard" / "002" / "completed.json")
    again = command(*training(corpus, generalist, trained / "clusters.json", trained / "hard", "hard"))
    assert [row["cluster"] for row in again["specialists"]] == list(range(K))
    assert times == {path: path.stat().st_mtime_ns for path in times}
    other = command(*training(corpus, generalist, trained / "clusters.json", trained / "hard", "soft"))
    assert "is complete with other options" in other
    soft = training(corpus, generalist, trained / "clusters.json", trained / "soft", "soft")
    as_left_out = command(*soft, "--temperature", 2, "--soft-weight", 1, "--own-soft-weight", 0)
    assert [row["cluster"] for row in as_left_out["specialists"]] == list(range(K))
    for option, value in (("--temperature", 3), ("--soft-weight", 2), ("--own-soft-weight", 1)):
        assert "is complete with other options" in command(*soft, option, value)


def test_a_run_is_plain_enough_for_a_process(corpus: Any, generalist: Path, trained: Path) -> None:
    """What the processes of --jobs get; here without the seconds that a process takes to start."""
    store = corpus.store("speaker")
    run = SpecialistRun(0, trained / "hard", generalist, store, dev=store, settings=("epochs=2",), epoch_frames=64)
    assert all(isinstance(value, (str, int, float, tuple, Path, type(None))) for value in vars(run).values())
    with pytest.raises(UserError, match="speakers are in both"):
        list(in_parallel(train_senone_specialist, [run], 1))


def test_held_out_frames_are_all_of_the_senones_and_as_many_others(corpus: Any) -> None:
    store = FrameStore.open(corpus.store("speaker"))
    ids = torch.tensor([2, 5, 6])
    for full in (False, True):
        frames = HeldOutFrames(FrameExamples(store, corpus.inventory.num_senones), ids, full)
        batch = frames.batch(torch.arange(frames.num_examples))
        true = torch.from_numpy(store.labels[batch["frame_indices"].numpy()]).long()
        special = torch.isin(true, ids)
        assert int(special.sum()) == int(np.isin(store.labels, ids.numpy()).sum()) == frames.num_examples // 2
        assert len(set(batch["frame_indices"].tolist())) == frames.num_examples
        if full:
            assert torch.equal(batch["labels"], true)
        else:
            assert torch.equal(batch["labels"] < 3, special)
            assert torch.equal(ids[batch["labels"][special]], true[special])
            assert set(batch["labels"][~special].tolist()) == {3}
    with pytest.raises(UserError, match="no frame of any of the 2 senones"):
        HeldOutFrames(
            FrameExamples(store, corpus.inventory.num_senones + 2), torch.arange(2) + corpus.inventory.num_senones, True
        )


def _frames(corpus: Any, folder: Path) -> list[object]:
    return ["--frames", corpus.store("speaker"), "--samples", 50, "--output", folder / "combined.json"]


def test_every_figure_is_that_of_the_frames(corpus: Any, generalist: Path, trained: Path, command: Any, tmp_path: Path) -> None:
    """Against Eq. 5 over whole tables of every specialist's answers, frame by frame, with nothing of the batches."""
    lines = tmp_path / "cuts.jsonl"
    folders = ["--specialists", trained / "hard", trained / "soft"]
    printed = command("combine", "--generalist", generalist, *folders, *_frames(corpus, tmp_path), "--per-utterance", lines)
    assert printed == read_json(tmp_path / "combined.json")
    figures = printed["splits"]["speaker"]
    systems = figures["systems"]
    assert list(systems) == ["generalist", "hard", "hard_addition", "soft", "soft_addition"]
    assert (figures["unit"], figures["units"]) == ("speaker", 2)
    assert [row["system"] for row in figures["table"]] == list(systems)
    assert figures["table"][0]["gain"] is None
    soft = systems["soft"]["vs_generalist"]["conditional_accuracy"]
    assert figures["table"][3]["conditional_gain"] == soft["difference"]
    assert soft["ci95"] is None  # of four cuts by two speakers there is no interval
    assert [figures["table"][3][f"conditional_gain_{end}"] for end in ("low", "high")] == [None, None]

    student, store = load_model(generalist), FrameStore.open(corpus.store("speaker"))
    windows = torch.cat([student.window(torch.from_numpy(np.array(store.utterance(cut)[0]))) for cut in range(4)])
    labels, clusters = torch.from_numpy(np.array(store.labels)).long(), SenoneClusters.load(trained / "clusters.json").classes
    log_probs = {"generalist": student.log_posteriors(windows)}
    for kind in ("hard", "soft"):
        tables = []
        for number in range(K):
            own = Member.load(trained / kind / f"{number:03d}")
            with torch.no_grad():
                logits = own.network(windows)
            tables.append((own.class_ids, corrected_log_probs(logits, own.class_ids, own.dustbin_correction, own.full_softmax)))
        log_probs[kind] = combine(log_probs["generalist"], tables)
    active = active_specialists(log_probs["generalist"], list(clusters))
    assert figures["calls_per_frame"] == pytest.approx(float(active.float().sum(dim=1).mean()))
    for name, rows in log_probs.items():
        correct = rows.argmax(dim=1) == labels
        assert systems[name]["accuracy"] == pytest.approx(100 * float(correct.float().mean()), abs=1e-3)
        entropy = -float(rows.gather(1, labels[:, None]).double().mean())
        assert systems[name]["cross_entropy"] == pytest.approx(entropy, rel=1e-4)
        hits = total = 0
        for ids in clusters:
            for frame in torch.isin(labels, ids).nonzero().flatten().tolist():
                hits += int(ids[rows[frame, ids].argmax()] == labels[frame])
                total += 1
        assert systems[name]["conditional_accuracy"] == pytest.approx(100 * hits / total)
    assert systems["generalist"]["accuracy"] == pytest.approx(cut_accuracies(student, store).total().accuracy)

    for kind in ("hard", "soft"):
        found = systems[kind]
        difference = found["accuracy"] - systems["generalist"]["accuracy"]
        assert found["vs_generalist"]["accuracy"]["difference"] == pytest.approx(difference)
        assert found["vs_generalist"]["accuracy"]["ci95"] is None
        assert sum(row["examples"] for row in found["gain_by_coverage"]) == store.num_frames
        assert sum(row["delta"] for row in found["gain_by_coverage"]) == round(difference * store.num_frames / 100)
        assert found["solver"]["not_converged"] == 0
    entropy = systems["soft"]["cross_entropy"] - systems["hard"]["cross_entropy"]
    assert systems["soft"]["vs_hard"]["cross_entropy"]["difference"] == pytest.approx(entropy)
    assert systems["soft"]["vs_hard"]["cross_entropy"]["p_improvement"] is None

    rows = list(read_jsonl(lines))
    assert {row["system"] for row in rows} == set(systems)
    mine = [row for row in rows if row["system"] == "soft"]
    assert [row["id"] for row in mine] == store.cut_ids
    assert 100 * sum(row["correct_frames"] for row in mine) / store.num_frames == pytest.approx(systems["soft"]["accuracy"])
    shares = [sum(row[f"conditional_{part}"] for row in mine) for part in ("correct", "total")]
    assert 100 * shares[0] / shares[1] == pytest.approx(systems["soft"]["conditional_accuracy"])


def test_both_solvers_agree_and_the_tables_hold_every_system(
    corpus: Any, generalist: Path, trained: Path, command: Any, tmp_path: Path
) -> None:
    words = ["combine", "--generalist", generalist, "--specialists", trained / "hard", *_frames(corpus, tmp_path), "--top-n", 2]
    first, second = command(*words), command(*words, "--solver", "gradient")
    one, other = (found["splits"]["speaker"] for found in (first, second))
    assert (first["top_n"], second["solver"]) == (2, "gradient")
    assert other["systems"]["hard"]["accuracy"] == pytest.approx(one["systems"]["hard"]["accuracy"])
    assert other["systems"]["hard"]["cross_entropy"] == pytest.approx(one["systems"]["hard"]["cross_entropy"], abs=1e-3)
    text = split_table("speaker", one) + gain_table("speaker", one)
    assert all(name in text for name in one["systems"])
    assert "95 % over 2 speakers" in text


def test_rows_do_not_depend_on_the_batch(corpus: Any, generalist: Path, trained: Path) -> None:
    student, store = load_model(generalist), FrameStore.open(corpus.store("speaker"))
    group = SenoneSpecialists.load(trained / "soft", student)
    whole, parts = (specialist_outcomes(student, [group], store, batch_size=size) for size in (4096, 50))
    for name in whole.systems:
        assert torch.equal(whole.systems[name].correct, parts.systems[name].correct)
    assert whole.solver["soft"].calls == parts.solver["soft"].calls
    assert np.array_equal(whole.conditional_counts("soft")[0], parts.conditional_counts("soft")[0])


def test_mistakes_are_named(corpus: Any, generalist: Path, trained: Path, command: Any, tmp_path: Path) -> None:
    store, senones = corpus.store("speaker"), corpus.inventory.num_senones
    cluster = ["cluster", "--model", generalist, "--frames", store, "--output", tmp_path / "new.json"]
    assert f"{senones + 1} clusters of {senones} senones" in command(*cluster, "--num-clusters", senones + 1, "--size", 2)
    assert "there is no specialist of one senone" in command(*cluster, "--num-clusters", 2, "--size", 1)
    assert "left for the dustbin" in command(*cluster, "--num-clusters", 2, "--size", senones)
    assert "single class" in command(*cluster, "--num-clusters", senones, "--partition")
    assert "needs at least 2" in command(*cluster, "--num-clusters", 2, "--size", 2, "--num-frames", 1)
    assert not (tmp_path / "new.json").exists()

    def train(clusters: Path, output: str = "new", **paths: Path) -> Any:
        words = training(corpus, paths.get("generalist", generalist), clusters, tmp_path / output, "hard")
        return command(*words)

    hard = training(corpus, generalist, trained / "clusters.json", tmp_path / "new", "hard")
    told = "--temperature, --own-soft-weight: of soft targets only, and --targets is hard. Next: leave it out, or add --targets"
    assert told in command(*hard, "-T", 2, "--own-soft-weight", 0)
    assert "--soft-weight: of soft targets only" in command(*hard, "--soft-weight", 1)

    stored = read_json(trained / "clusters.json")
    bad = tmp_path / "bad.json"
    write_json(bad, {**stored, "clusters": [[3], *stored["clusters"][1:]], "names": [["A[0]"], *stored["names"][1:]]})
    assert "cluster 0 has 1 class(es), expected at least 2" in train(bad)
    write_json(bad, {**stored, "senones_hash": "0" * 64})
    assert "different senone inventories" in train(bad)
    write_json(bad, {**stored, "mean": stored["mean"][1:]})
    assert "do not belong together" in train(bad)
    bad.write_text((trained / "clusters.json").read_text()[:200])
    assert str(bad) in train(bad)
    write_json(bad, [1])
    assert "holds no senone clusters" in train(bad)
    assert not (tmp_path / "new").exists()

    ensemble = tmp_path / "ensemble"
    main(["ensemble", "--members", str(generalist), "--output", str(ensemble), "--quiet"])
    assert "is an ensemble" in train(trained / "clusters.json", generalist=ensemble)
    write_json(bad, {**stored, "clusters": stored["clusters"][::-1], "names": stored["names"][::-1]})
    words = training(corpus, generalist, bad, trained / "hard", "hard")
    assert "holds specialists of other clusters" in command(*words)
    bent = command(
        *training(corpus, generalist, trained / "clusters.json", tmp_path / "bent", "hard"), "--set", "window.left=3"
    )
    assert "the generalist's" in bent


def test_what_does_not_belong_together_is_not_combined(
    corpus: Any, generalist: Path, trained: Path, command: Any, tmp_path: Path
) -> None:
    combine_words = ["combine", *_frames(corpus, tmp_path)]
    other = corpus.train("--seeds", "1", name="other_generalist").parent / "seed1"
    assert "began with the generalist" in command(*combine_words, "--generalist", other, "--specialists", trained / "hard")
    assert "holds no specialists" in command(*combine_words, "--generalist", generalist, "--specialists", tmp_path)
    twice = ["--specialists", trained / "hard", trained / "hard"]
    assert "different names" in command(*combine_words, "--generalist", generalist, *twice)
    weights = trained / "hard" / "001" / "model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-40])
        cut = command(*combine_words, "--generalist", generalist, "--specialists", trained / "hard")
        assert "model.safetensors is damaged" in cut
    finally:
        weights.write_bytes(whole)
    assert not (tmp_path / "combined.json").exists()
