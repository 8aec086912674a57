"""Labels on cuts, and the subcommand from cuts and alignments to senones, labels and priors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from senone_trees import random_tree, small_topology

from asr_distill.base import DIGESTS_FILE, UserError, only_writer
from asr_distill.cli.main import main
from asr_distill.senones import (
    FrameAlignment,
    SenoneInventory,
    SenonePriors,
    grow_tree,
    read_alignments,
    read_label_arrays,
    write_alignments,
    write_labels,
)

PHONE_FRAMES = 4
DIMENSION = 6


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Eight cuts of two speakers with random features, their alignments, and a lang directory."""
    from lhotse import CutSet, Features, MonoCut, SupervisionSegment
    from lhotse.features.io import NumpyFilesWriter

    generator = np.random.default_rng(0)
    topology = small_topology()
    writer = NumpyFilesWriter(tmp_path / "features")
    cuts, alignments = [], {}
    centres = generator.normal(0, 3, (len(topology.phones) + 1, 3, DIMENSION))
    for number in range(8):
        phones = generator.integers(1, 6, 12)
        states = np.tile([0, 1, 1, 2], len(phones))
        index = np.repeat(np.arange(len(phones)), PHONE_FRAMES)
        left = np.concatenate([[0], phones[:-1]])
        frames = centres[phones[index], states] + 0.5 * centres[left[index], 2] + generator.normal(size=(len(index), DIMENSION))
        key, duration = f"cut/{number}", len(index) * 0.01
        features = Features(
            type="fbank",
            num_frames=len(index),
            num_features=DIMENSION,
            frame_shift=0.01,
            sampling_rate=16000,
            start=0,
            duration=duration,
            storage_type=writer.name,
            storage_path=str(writer.storage_path),
            storage_key=writer.write(f"feat-{number}", frames.astype(np.float32)),
            recording_id=key,
            channels=0,
        )
        supervision = SupervisionSegment(
            id=key, recording_id=key, start=0, duration=duration, text="X", speaker=f"s{number % 2}"
        )
        cuts.append(MonoCut(key, 0, duration, 0, features=features, supervisions=[supervision]))
        alignments[key] = FrameAlignment(phones, index, states)
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts_train.jsonl.gz")
    write_alignments(tmp_path / "alignments.jsonl.gz", alignments)
    (tmp_path / "lang").mkdir()
    (tmp_path / "lang" / "phones.txt").write_text(
        "<eps> 0\n" + "".join(f"{name} {i}\n" for i, name in enumerate(topology.phones, 1)) + "#0 6\n"
    )
    (tmp_path / "lang" / "silence.txt").write_text("SIL\n")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cuts_of(folder: Path, name: str = "cuts_train.jsonl.gz") -> list:
    from lhotse import CutSet

    return list(CutSet.from_file(folder / name))


def test_labels_come_back_as_they_were(corpus: Path) -> None:
    topology = small_topology()
    inventory = SenoneInventory(topology, random_tree(topology, 0))
    alignments = read_alignments(corpus / "alignments.jsonl.gz")
    cuts = cuts_of(corpus)
    report = write_labels(cuts, alignments, inventory, corpus / "labels" / "cuts_train.jsonl.gz")
    assert (report.num_cuts, report.num_frames, report.without_alignment) == (8, 8 * 48, ())
    labelled = cuts_of(corpus / "labels")
    assert [cut.id for cut in labelled] == [cut.id for cut in cuts]
    for cut in labelled:
        senones, phones = cut.load_senones(), cut.load_phones()
        assert senones.dtype == phones.dtype == np.int32
        np.testing.assert_array_equal(senones, inventory.label(alignments[cut.id]))
        np.testing.assert_array_equal(phones, alignments[cut.id].frame_phones)
        assert cut.senones.frame_shift == 0.01
        # A window of a cut takes its labels along.
        part = cut.truncate(offset=0.1, duration=0.2)
        np.testing.assert_array_equal(part.load_senones(), senones[10:30])
    assert not cuts[0].has_custom("senones")
    arrays = dict(read_label_arrays(labelled, inventory.hash))
    np.testing.assert_array_equal(
        np.bincount(np.concatenate(list(arrays.values())), minlength=inventory.num_senones), report.counts
    )
    with pytest.raises(UserError, match=r"'cut/0'.*different senone inventories"):
        list(read_label_arrays(labelled, "0" * 64))
    with pytest.raises(UserError, match="'cut/0' has no senone labels"):
        list(read_label_arrays(cuts))


def test_a_mistaken_run_names_the_cut_and_leaves_the_good_labels(corpus: Path) -> None:
    topology = small_topology()
    inventory = SenoneInventory(topology, random_tree(topology, 0))
    alignments = read_alignments(corpus / "alignments.jsonl.gz")
    out = corpus / "labels" / "cuts_train.jsonl.gz"
    wrong = {**alignments, "cut/5": FrameAlignment(np.array([1]), np.zeros(47), np.zeros(47))}
    with pytest.raises(UserError, match="cut/5: it has 48 frames, its alignment 47"):
        write_labels(cuts_of(corpus), wrong, inventory, out)
    assert not out.parent.exists()
    write_labels(cuts_of(corpus), alignments, inventory, out)
    before = contents(out.parent)
    with pytest.raises(UserError, match="cut/5: it has 48 frames, its alignment 47"):
        write_labels(cuts_of(corpus), wrong, inventory, out)
    assert contents(out.parent) == before


def test_labels_are_replaced_with_their_arrays_and_one_process_at_a_time_does_it(corpus: Path) -> None:
    topology = small_topology()
    first, second = (SenoneInventory(topology, random_tree(topology, seed)) for seed in (0, 1))
    alignments = read_alignments(corpus / "alignments.jsonl.gz")
    out = corpus / "labels" / "cuts_train.jsonl.gz"
    write_labels(cuts_of(corpus), alignments, first, out)
    mine = out.parent / "cuts_train_arrays-0123456789abcdef"
    mine.mkdir()
    (mine / "notes").write_text("the user's")
    with only_writer(out), pytest.raises(UserError, match="another process is writing"):
        write_labels(cuts_of(corpus), alignments, second, out)
    write_labels(cuts_of(corpus), alignments, second, out)
    for key, labels in read_label_arrays(cuts_of(out.parent), second.hash):
        np.testing.assert_array_equal(labels, second.label(alignments[key]))
    names = sorted(path.name for path in out.parent.iterdir())
    assert len(names) == 4
    assert {mine.name, out.name, DIGESTS_FILE} < set(names)
    assert (mine / "notes").read_text() == "the user's"


def test_missing_alignments_are_reported_and_bounded(corpus: Path) -> None:
    topology = small_topology()
    inventory = SenoneInventory(topology, random_tree(topology, 0))
    alignments = read_alignments(corpus / "alignments.jsonl.gz")
    del alignments["cut/3"]
    out = corpus / "labels" / "cuts_train.jsonl.gz"
    with pytest.raises(UserError, match=r"1 of 8 cuts have no alignment that fits \(cut/3: no alignment\)"):
        write_labels(cuts_of(corpus), alignments, inventory, out)
    report = write_labels(cuts_of(corpus), alignments, inventory, out, max_missing_share=0.2)
    assert report.without_alignment == ("cut/3",)
    assert [cut.id for cut in cuts_of(corpus / "labels")] == [f"cut/{n}" for n in range(8) if n != 3]
    with pytest.raises(UserError, match="'cut/0' has no features"):
        write_labels([replace(cut, features=None) for cut in cuts_of(corpus)], alignments, inventory, out)


def grow_arguments(corpus: Path, output: str) -> list[str]:
    return [
        "tree",
        *("--lang", str(corpus / "lang"), "--alignments", str(corpus / "alignments.jsonl.gz")),
        *("--cuts", str(corpus / "cuts_train.jsonl.gz"), "--output", str(corpus / output)),
        *("--num-leaves", "30", "--min-count", "5", "--min-gain", "5", "--cepstra", "0"),
    ]


def test_from_the_command_line(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*grow_arguments(corpus, "senones"), "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    inventory = SenoneInventory.load(corpus / "senones" / "senones.json")
    assert result["senones"] == inventory.num_senones <= 30
    assert result["senones"] > result["roots"] == 13
    assert result["hash"] == inventory.hash
    assert result["frames"] == 8 * 48
    assert result["log_likelihood_per_frame_senones"] > result["log_likelihood_per_frame_roots"]
    assert json.loads((corpus / "senones" / "tree.json").read_text()) == result
    assert main([*grow_arguments(corpus, "auto"), "--num-leaves", "auto", "--json", "--quiet"]) == 0
    automatic = json.loads(capsys.readouterr().out)
    assert automatic["num_leaves"] == max(round(360 * automatic["hours"] ** 0.5), 13)
    with pytest.raises(SystemExit):
        main([*grow_arguments(corpus, "auto"), "--num-leaves", "many"])
    assert "found 'many', expected a number of leaves or auto" in capsys.readouterr().err
    assert main([*grow_arguments(corpus, "again"), "--quiet"]) == 0
    assert (corpus / "again" / "senones.json").read_bytes() == (corpus / "senones" / "senones.json").read_bytes()
    capsys.readouterr()

    label = ["tree", "label", "--inventory", str(corpus / "senones" / "senones.json")]
    label += ["--alignments", str(corpus / "alignments.jsonl.gz"), "--cuts", str(corpus / "cuts_train.jsonl.gz")]
    output, priors = corpus / "labels" / "cuts_train.jsonl.gz", corpus / "senones" / "priors.json"
    assert main([*label, "--output", str(output), "--priors", str(priors), "--json", "--quiet"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["cuts"], result["frames"], result["senones_hash"]) == (8, 384, inventory.hash)
    counted = SenonePriors.load(priors, inventory.hash)
    assert counted.counts.sum() == 384
    assert (counted.counts >= 5).sum() > 13
    assert main([*label, "--output", str(corpus / "cuts_train.jsonl.gz")]) == 1
    assert "is what --cuts reads" in capsys.readouterr().err
    assert len(cuts_of(corpus)) == 8

    assert main(["tree", "show", "--inventory", str(corpus / "senones" / "senones.json"), "--phone", "SIL"]) == 0
    assert capsys.readouterr().out.split() == ["0", "SIL[0]", "any", "context"]


def test_too_few_leaves_are_refused_before_anything_is_read(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roots = ["tree", "roots", "--lang", str(corpus / "lang"), "--num-leaves"]
    for number in ("13", "auto"):
        assert main([*roots, number, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"roots": 13, "phones": 5}
    (corpus / "cuts_train.jsonl.gz").write_text("damaged")
    for arguments in ([*roots, "12"], [*grow_arguments(corpus, "senones"), "--num-leaves", "12"]):
        assert main(arguments) == 1
        assert "num_leaves is 12, but there are 13 roots, the states (pdf classes) of 5 phones" in capsys.readouterr().err


def test_a_poor_tree_is_said(corpus: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(grow_arguments(corpus, "good")) == 0
    assert "smallest leaf" in capsys.readouterr().out
    assert "Next:" not in caplog.text
    assert main([*grow_arguments(corpus, "whole"), "--num-leaves", "13"]) == 0
    assert "each of its 13 leaves is a root" in caplog.text
    assert "ask for more than 13 with --num-leaves" in caplog.text
    assert "smallest leaf" not in capsys.readouterr().out
    caplog.clear()
    assert main([*grow_arguments(corpus, "automatic"), "--num-leaves", "auto"]) == 0
    assert "auto asks for no more leaves with so little speech (0.1 minutes aligned)" in caplog.text
    caplog.clear()
    assert main([*grow_arguments(corpus, "high"), "--min-count", "1000"]) == 0
    assert "no split was worth it" in caplog.text
    caplog.clear()
    alignments = read_alignments(corpus / "alignments.jsonl.gz")
    silent = {key: FrameAlignment(np.array([1]), np.zeros(48), np.zeros(48)) for key in alignments}
    write_alignments(corpus / "alignments.jsonl.gz", silent)
    assert main(grow_arguments(corpus, "silent")) == 0
    assert "12 of 13 roots have no frames" in caplog.text
    assert "A[0] A[1] A[2] B[0]" in caplog.text


def test_the_command_line_says_what_is_missing(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tree", "--lang", str(corpus / "lang")]) == 1
    assert "missing --alignments, --cuts, --output" in capsys.readouterr().err
    assert main(["tree", "--monophone", "--lang", str(corpus / "lang"), "--output", str(corpus / "mono")]) == 0
    assert SenoneInventory.load(corpus / "mono" / "senones.json").num_senones == 13
    alignments = read_alignments(corpus / "alignments.jsonl.gz")
    write_alignments(corpus / "alignments.jsonl.gz", {key: value for key, value in alignments.items() if key > "cut/4"})
    assert main(grow_arguments(corpus, "senones")) == 1
    assert "5 of 8 cuts" in capsys.readouterr().err
    assert not (corpus / "senones").exists()


def test_a_tree_from_real_speech_fits_speakers_it_has_not_seen(an4_dir: Path, an4_reference_alignment: Path) -> None:
    """Grown on 12 speakers of AN4, the leaves' Gaussians explain 4 others better than the roots' do."""
    from an4_alignment import reference_utterances

    from asr_distill.senones import accumulate_triphone_statistics, cluster_phone_questions
    from asr_distill.senones.gaussian import log_likelihood, mean_and_variance
    from asr_distill.senones.tree_features import add_deltas, cepstra, normalised_by_speaker

    topology, alignments, features = reference_utterances(an4_dir, an4_reference_alignment, num_speakers=16)
    speakers = sorted({key.split("-")[1] for key in features})

    def statistics(chosen: list[str]):  # type: ignore[no-untyped-def]
        def utterances() -> list:
            return [(k, k.split("-")[1], cepstra(f, 13)) for k, f in features.items() if k.split("-")[1] in chosen]

        stream = ((key, add_deltas(frames)) for key, frames in normalised_by_speaker(utterances))
        return accumulate_triphone_statistics(alignments, stream, topology)

    train, held_out = statistics(speakers[:12]), statistics(speakers[12:])
    tree, report = grow_tree(train, topology, cluster_phone_questions(train, topology), num_leaves=200, min_count=40)
    assert tree.num_senones > 150
    floor = train.variance_floor()

    def per_frame(rows_of_train: np.ndarray, rows_of_held_out: np.ndarray) -> float:
        """Held-out log-likelihood per frame under the Gaussians of the training rows."""
        total, size = 0.0, max(rows_of_train.max(), rows_of_held_out.max()) + 1
        fitted, seen = (np.zeros((size, 2 * train.dimension + 1)) for _ in range(2))
        np.add.at(fitted, rows_of_train, train.packed())
        np.add.at(seen, rows_of_held_out, held_out.packed())
        mean, variance = mean_and_variance(fitted)
        variance = np.maximum(variance, floor)
        sums, squares = np.split(seen[:, 1:], 2, axis=1)
        deviation = squares - 2 * mean * sums + seen[:, :1] * mean**2
        total = -0.5 * (seen[:, :1] * np.log(2 * np.pi * variance) + deviation / variance).sum()
        return float(total) / held_out.num_frames

    keys = {key: index for index, key in enumerate(tree.roots)}
    roots = [
        np.array([keys[tree.senone_info(int(s))] for s in tree.senones_of(stats.contexts, stats.pdf_classes)])
        for stats in (train, held_out)
    ]
    leaves = [tree.senones_of(stats.contexts, stats.pdf_classes) for stats in (train, held_out)]
    assert per_frame(*leaves) > per_frame(*roots) + 0.15  # nats; 0.27 when this was written
    # On the training part the same sum is the likelihood that the growth reports.
    pooled = np.zeros((tree.num_senones, 2 * train.dimension + 1))
    np.add.at(pooled, leaves[0], train.packed())
    assert log_likelihood(pooled, floor).sum() / train.num_frames == pytest.approx(report.log_likelihood_leaves)


def test_labels_are_found_from_another_working_directory(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    inventory = SenoneInventory(small_topology(), random_tree(small_topology(), 0))
    alignments = read_alignments(corpus / "alignments.jsonl.gz")
    monkeypatch.chdir(corpus)
    write_labels(cuts_of(corpus), alignments, inventory, "labels/cuts_train.jsonl.gz")
    (corpus / "elsewhere").mkdir()
    monkeypatch.chdir(corpus / "elsewhere")
    for key, labels in read_label_arrays(cuts_of(corpus / "labels"), inventory.hash):
        np.testing.assert_array_equal(labels, inventory.label(alignments[key]))
    shutil.rmtree(next((corpus / "labels").glob("cuts_train_arrays-*")))
    with pytest.raises(UserError, match=r"labels of cut 'cut/0' cannot be read.*tree label"):
        list(read_label_arrays(cuts_of(corpus / "labels")))


def test_growing_names_the_cut_whose_features_are_lost(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((corpus / "features").rglob("feat-3*")).unlink()
    command = ["tree", "--lang", corpus / "lang", "--alignments", corpus / "alignments.jsonl.gz", "--cepstra", 0]
    assert main([str(word) for word in [*command, "--cuts", corpus / "cuts_train.jsonl.gz", "--output", corpus / "out"]]) == 1
    assert "cut/3: its features cannot be read" in capsys.readouterr().err
