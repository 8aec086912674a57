"""Flat start on a few utterances of AN4: it learns, it fails by name, it goes on where it was cut."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lhotse import MonoCut, SupervisionSegment

from asr_distill.alignment import (
    GmmModel,
    MonophoneConfig,
    TranscriptReader,
    alignment_segments,
    compare_boundaries,
    forced_align,
    gmm_log_likelihoods,
    monophone,
    monophone_inventory,
    read_mlf,
    train_monophone,
)
from asr_distill.alignment.cepstra import Cepstra, load_fbank, transcript_of
from asr_distill.alignment.checkpoint import CHECKPOINT_FILE
from asr_distill.alignment.kaldi_hmm import KaldiHmm
from asr_distill.alignment.monophone_data import equal_split, read_training_data
from asr_distill.base import UserError, read_json
from asr_distill.cli.main import main
from asr_distill.senones import SenoneInventory, read_alignments, write_alignments

QUICK = MonophoneConfig(iterations=12, realign=(1, 2, 3, 4, 6, 8, 10), total_gaussians=300)
FEW = MonophoneConfig(iterations=4, realign=(1, 2, 4), total_gaussians=150)


@pytest.fixture(scope="module")
def trained(an4_cuts: list[Any], an4_lang: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mono")
    report = train_monophone(an4_cuts, an4_lang, out, QUICK)
    assert not report.failures
    return out


def test_it_learns_and_agrees_with_the_reference(
    trained: Path, an4_cuts: list[Any], an4_lang: Any, an4_reference_alignment: Path
) -> None:
    facts = read_json(trained / "mono.json")
    history = [row["log_likelihood_per_frame"] for row in facts["history"]]
    assert history[-1] > history[0] + 3
    assert facts["utterances"] == len(an4_cuts)
    assert not (trained / CHECKPOINT_FILE).exists()
    assert read_json(trained / "failures.json") == {}
    alignments = read_alignments(trained / "alignments_train.jsonl.gz")
    for cut in an4_cuts:
        assert len(alignments[cut.id]) == cut.num_frames
        assert tuple(word for word, _, _ in alignments[cut.id].words) == transcript_of(cut)
    figures = compare_boundaries(
        {
            key: alignment_segments(alignment, an4_lang.real_phones, position_dependent=True)
            for key, alignment in alignments.items()
        },
        read_mlf(an4_reference_alignment),
    ).to_dict()
    assert figures["median_ms"] <= 25  # forty utterances; the whole corpus gives 12.5
    assert figures["speech_frame_agreement"] > 0.75


def test_positions_follow_the_words(trained: Path, an4_lang: Any) -> None:
    for alignment in read_alignments(trained / "alignments_train.jsonl.gz").values():
        covered = np.zeros(len(alignment.phones), dtype=bool)
        for _, first, last in alignment.words:
            names = [an4_lang.real_phones[phone - 1][-2:] for phone in alignment.phones[first:last]]
            assert names == (["_S"] if last - first == 1 else ["_B", *["_I"] * (last - first - 2), "_E"])
            covered[first:last] = True
        assert {an4_lang.real_phones[phone - 1] for phone in alignment.phones[~covered]} <= {"SIL"}


def test_scores_as_the_library_and_in_the_order_of_the_inventory(trained: Path, an4_cuts: list[Any]) -> None:
    model = GmmModel.load(trained)
    hmm = KaldiHmm(model.inventory, model.transitions)
    theirs = hmm.acoustic_model(model.gmm)
    fbank = load_fbank(an4_cuts[0])
    statistics = Cepstra(model.cepstra).speaker_statistics(an4_cuts[:10])[an4_cuts[0].supervisions[0].speaker]
    cepstra = Cepstra(model.cepstra)(fbank, statistics)
    scores = gmm_log_likelihoods(trained, fbank, statistics)
    assert scores.shape == (len(fbank), model.inventory.num_senones)
    for frame in (0, 17, len(fbank) - 1):
        for pdf, senone in enumerate(hmm.senone_of_pdf):
            assert scores[frame, senone] == pytest.approx(theirs.log_likelihood(pdf, cepstra[frame]), rel=1e-3, abs=1e-2)


def test_library_and_exact_search_agree(trained: Path, an4_cuts: list[Any], an4_lang: Any) -> None:
    model = GmmModel.load(trained)
    report = forced_align(
        {cut.id: transcript_of(cut) for cut in an4_cuts},
        ((cut.id, scores) for cut, scores in model.scores(an4_cuts)),
        model.inventory,
        TranscriptReader.of_lang(an4_lang),
    )
    library = read_alignments(trained / "alignments_train.jsonl.gz")
    same = sum(int((report.alignments[key].frame_phones == other.frame_phones).sum()) for key, other in library.items())
    # Apart from transition probabilities (trained there, the topology's here) it is the same search.
    assert same / sum(map(len, library.values())) > 0.97


def test_a_cut_run_goes_on_to_the_same_bits(
    an4_cuts: list[Any], an4_lang: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = an4_cuts[:12]
    whole = train_monophone(cuts, an4_lang, tmp_path / "whole", FEW)
    estimate, calls = monophone.estimate, []

    def killed(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:  # the flat start, two iterations, then
            raise KeyboardInterrupt
        return estimate(*args, **options)

    monkeypatch.setattr(monophone, "estimate", killed)
    with pytest.raises(KeyboardInterrupt):
        train_monophone(cuts, an4_lang, tmp_path / "cut", FEW)
    assert not (tmp_path / "cut" / "gmm.json").exists()
    calls.clear()
    resumed = train_monophone(cuts, an4_lang, tmp_path / "cut", FEW)
    assert len(calls) == 2  # only the iterations that were missing
    assert resumed.alignments == whole.alignments
    first, second = GmmModel.load(tmp_path / "whole"), GmmModel.load(tmp_path / "cut")
    assert np.array_equal(first.gmm.means, second.gmm.means)
    assert first.transitions is not None
    assert np.array_equal(first.transitions, second.transitions)


def test_failures_are_named_and_bounded(an4_cuts: list[Any], an4_lang: Any, tmp_path: Path) -> None:
    cuts = an4_cuts[:8]
    odd = dataclasses.replace(cuts[0], supervisions=[dataclasses.replace(cuts[0].supervisions[0], text="GO ZEBRA")])
    hasty = dataclasses.replace(cuts[1], supervisions=[dataclasses.replace(cuts[1].supervisions[0], text="RUBOUT " * 40)])
    broken = [odd, hasty, *cuts[2:]]
    with pytest.raises(UserError, match=r"(?s)2 of 8 utterances.*not in the lexicon: ZEBRA.*too short"):
        train_monophone(broken, an4_lang, tmp_path / "a", FEW)
    report = train_monophone(broken, an4_lang, tmp_path / "b", FEW, max_failed_share=0.3)
    assert set(report.failures) == {odd.id, hasty.id} == set(read_json(tmp_path / "b" / "failures.json"))
    assert len(report.alignments) == 6
    with pytest.raises(UserError, match="comes twice"):
        train_monophone([*cuts, cuts[0]], an4_lang, tmp_path / "c", FEW)
    bare = [dataclasses.replace(cut, features=None) for cut in cuts]
    with pytest.raises(UserError, match="has no features"):
        train_monophone(bare, an4_lang, tmp_path / "d", FEW)


@pytest.mark.parametrize("text", ["", "  ", None])
def test_an_utterance_without_a_transcript_is_a_failure_and_no_silence(
    an4_cuts: list[Any], an4_lang: Any, tmp_path: Path, text: str | None
) -> None:
    cuts = an4_cuts[:4]
    silent = dataclasses.replace(cuts[0], supervisions=[dataclasses.replace(cuts[0].supervisions[0], text=text)])
    reader, inventory = TranscriptReader.of_lang(an4_lang), monophone_inventory(an4_lang)
    data = read_training_data([silent, *cuts[1:]], Cepstra(), reader, inventory)
    assert data.keys == tuple(cut.id for cut in cuts[1:])
    assert data.failures == {
        silent.id: "no transcript: its text is empty; speech that passed for silence would spoil its model"
    }
    with pytest.raises(
        UserError, match=rf"(?s)1 of 4 utterances could not be aligned \(1 no transcript\).*{silent.id}: no tran"
    ):
        train_monophone([silent, *cuts[1:]], an4_lang, tmp_path / "mono", FEW)
    with pytest.raises(UserError, match=f"no utterance can be aligned; the first, '{silent.id}': no transcript"):
        read_training_data([silent], Cepstra(), reader, inventory)


def test_equal_split_by_hand(an4_lang: Any) -> None:
    inventory = monophone_inventory(an4_lang)
    lattice = TranscriptReader.of_lang(an4_lang).lattice(["GO"])
    silence = an4_lang.phones["SIL"]
    senones = equal_split(32, lattice, inventory, silence)  # SIL G OW SIL: 5 + 3 + 3 + 5 states of two frames each
    assert senones is not None
    states = [inventory.tree.senone_info(int(senone)) for senone in senones[::2]]
    edge = [("SIL", state) for state in range(5)]
    assert states == [*edge, *(("G", state) for state in range(3)), *(("OW", state) for state in range(3)), *edge]
    assert np.array_equal(senones[::2], senones[1::2])
    short = equal_split(6, lattice, inventory, silence)  # no room for silence
    assert short is not None
    assert [inventory.tree.senone_info(int(senone))[0] for senone in short] == ["G"] * 3 + ["OW"] * 3
    assert equal_split(5, lattice, inventory, silence) is None


def test_command_line(
    trained: Path, an4_cuts: list[Any], an4_lang: Any, an4_reference_alignment: Path, tmp_path: Path, capsys: Any
) -> None:
    from lhotse import CutSet

    cuts = tmp_path / "cuts_some.jsonl.gz"
    CutSet.from_cuts(an4_cuts[:10]).to_file(cuts)
    lang = ["--lang", str(an4_lang.directory)]
    mono = ["align", "mono", "--cuts", str(cuts), *lang, "--output", str(tmp_path / "mono"), "--iterations", "3", "--json"]
    assert main(mono) == 0
    assert json.loads(capsys.readouterr().out)["aligned"] == 10
    assert len(read_alignments(tmp_path / "mono" / "alignments_some.jsonl.gz")) == 10
    output = tmp_path / "alignments_some.jsonl.gz"
    forced = ["align", "forced", "--cuts", str(cuts), *lang, "--scores-from", str(trained), "--output", str(output)]
    assert main(forced) == 0
    assert "10 of 10 utterances aligned" in capsys.readouterr().out
    assert list(read_alignments(output)) == [cut.id for cut in an4_cuts[:10]]
    assert read_json(tmp_path / "failures_some.json") == {}
    key, alignments = an4_cuts[0].id, ["--alignments", str(output)]
    assert main(["align", "show", key, *alignments, *lang]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in transcript_of(an4_cuts[0]))
    assert main(["align", "show", "nobody", *alignments, *lang]) == 1
    assert "has no cut 'nobody'" in capsys.readouterr().err
    assert main(["align", "compare", *alignments, *lang, "--reference", str(an4_reference_alignment), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["utterances"] == 10
    other = SenoneInventory.load(trained / "senones.json")
    different = monophone_inventory(an4_lang, silence_states=3)
    assert different.hash != other.hash
    different.save(tmp_path / "senones.json")
    assert main([*forced, "--inventory", str(tmp_path / "senones.json")]) == 1
    error = capsys.readouterr().err
    assert other.hash in error
    assert different.hash in error


def test_triphones_from_a_tree(trained: Path, an4_cuts: list[Any], an4_lang: Any, tmp_path: Path, capsys: Any) -> None:
    from lhotse import CutSet

    cuts, lang = tmp_path / "cuts_some.jsonl.gz", ["--lang", str(an4_lang.directory)]
    CutSet.from_cuts(an4_cuts).to_file(cuts)
    given = ["--cuts", str(cuts), *lang, "--alignments", str(trained / "alignments_train.jsonl.gz")]
    senones, out = tmp_path / "senones", tmp_path / "triphone"
    assert main(["tree", *given, "--num-leaves", "130", "--min-count", "20", "--min-gain", "1", "--output", str(senones)]) == 0
    options = [
        "--inventory",
        str(senones / "senones.json"),
        "--output",
        str(out),
        "--iterations",
        "8",
        "--total-gaussians",
        "250",
    ]
    capsys.readouterr()
    assert main(["align", "triphone", *given, *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["aligned"] == len(an4_cuts)
    model = GmmModel.load(out)
    assert model.inventory.hash == SenoneInventory.load(senones / "senones.json").hash == result["senones_hash"]
    assert 200 < model.gmm.num_gaussians <= 250
    history = [row["log_likelihood_per_frame"] for row in read_json(out / "triphone.json")["history"]]
    assert history[-1] > history[0] + 1
    first, again = (
        read_alignments(folder) for folder in (trained / "alignments_train.jsonl.gz", out / "alignments_some.jsonl.gz")
    )
    same = sum(int((again[key].frame_phones == alignment.frame_phones).sum()) for key, alignment in first.items())
    assert same / sum(map(len, first.values())) > 0.8
    clipped = {
        key: dataclasses.replace(a, phone_index=a.phone_index[:-1], hmm_states=a.hmm_states[:-1]) for key, a in first.items()
    }
    write_alignments(tmp_path / "clipped.jsonl.gz", clipped)
    given[-1] = str(tmp_path / "clipped.jsonl.gz")
    assert main(["align", "triphone", *given, *options]) == 1
    assert "alignments are not of these cuts" in capsys.readouterr().err


def test_plot(trained: Path, an4_cuts: list[Any], an4_lang: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from asr_distill.alignment.plot import plot_alignment

    alignment = read_alignments(trained / "alignments_train.jsonl.gz")[an4_cuts[0].id]
    fbank = load_fbank(an4_cuts[0])
    plot_alignment(tmp_path / "a.png", an4_cuts[0].id, fbank, alignment, an4_lang.real_phones, ["SIL"])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="frames of features"):
        plot_alignment(tmp_path / "b.png", "b", fbank[:-1], alignment, an4_lang.real_phones)


def test_accents_in_two_spellings_are_one_word() -> None:
    said = SupervisionSegment("c", "r", 0.0, 1.0, text="cafe\u0301 au lait")
    assert transcript_of(MonoCut("c", 0.0, 1.0, 0, [said])) == ("caf\u00e9", "au", "lait")
