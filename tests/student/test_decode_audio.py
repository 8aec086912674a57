"""``asr-distill decode --audio``: files that no manifest describes, of several rates, searched without transcripts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.features.io import NumpyFilesWriter
from lhotse.utils import fastcopy

from asr_distill.base import read_json, read_jsonl, write_json
from asr_distill.cli.main import main
from asr_distill.features import Moments
from asr_distill.features.resampling import resample, resample_sharply
from asr_distill.graph.arrays import FstArrays
from asr_distill.graph.hclg import write_graph
from asr_distill.student import Student, set_acoustic_scale


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A wav at the model's rate, a flac at half of it, and one whose name has a blank."""
    found = []
    for seed, (name, rate) in enumerate([("new.wav", 16000), ("half.flac", 8000), ("two words.wav", 16000)]):
        samples = np.random.default_rng(seed).normal(0, 0.03, rate // 2 + 1000 * seed)
        found.append(tmp_path / "audio" / name)
        found[-1].parent.mkdir(exist_ok=True)
        soundfile.write(found[-1], samples, rate, subtype="PCM_16")
    return found


@pytest.fixture
def graph(corpus: Any, tmp_path: Path) -> Path:
    """It accepts any senones, so that a path's score is the sum of each frame's best."""
    senones = corpus.inventory.num_senones
    zeros, labels = np.zeros(senones, np.int32), np.arange(1, senones + 1, dtype=np.int32)
    words = np.where(labels == senones, 1, 0).astype(np.int32)
    fst = FstArrays(0, zeros, zeros, labels, words, np.zeros(senones, np.float32), np.zeros(1, np.float32))
    write_graph(fst, corpus.inventory, {"<eps>": 0, "a": 1}, tmp_path / "graph", {"units": "words"})
    return tmp_path / "graph"


@pytest.fixture
def bundle(corpus: Any, tmp_path: Path) -> Path:
    """A model that normalises per speaker, and that nobody else reads."""
    return Path(shutil.copytree(corpus.train(), tmp_path / "bundle"))


@pytest.fixture
def decode(bundle: Path, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs it and returns what was printed, on both streams."""

    def run(*words: object, status: int = 0) -> Any:
        capsys.readouterr()
        model = ["--graph", str(graph), "--model", str(bundle), "--engine", "kaldi"]
        assert main(["decode", *model, "--output", str(tmp_path / "new"), *map(str, words)]) == status
        return capsys.readouterr()

    return run


def test_each_file_is_an_utterance_of_its_own(
    bundle: Path, files: list[Path], decode: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    printed = decode("--audio", *files, "--acoustic-scale", 1)
    rows = list(read_jsonl(tmp_path / "new" / "hypotheses.jsonl"))
    assert [row["id"] for row in rows] == ["new", "half", "two_words"]
    student = Student.load(bundle)
    for row, path in zip(rows, files, strict=True):
        scores = student.log_likelihoods(resample(*soundfile.read(path, dtype="float32"), 16000)).double()
        assert row["score"] == pytest.approx(float(scores.max(1).values.sum()), rel=1e-3)
        assert row["hypothesis"].split() == ["a"] * int((scores.argmax(1) == scores.shape[1] - 1).sum())
        assert (row["reference"], row["speaker"], row["correct_frames"]) == (None, None, None)
        assert f"{row['id']}: {row['hypothesis']}\n" in printed.out
    summary = read_json(tmp_path / "new" / "decode.json")
    assert (summary["error_rate"], summary["frame_accuracy"], summary["utterances"]) == (None, None, 3)
    assert (summary["system"], summary["split"]) == (str(bundle), "new")
    assert (tmp_path / "new" / "ref.trn").read_text() == ""
    assert len((tmp_path / "new" / "hyp.trn").read_text().splitlines()) == 3
    assert "error rate" not in printed.out
    assert "no reference" in printed.out
    (said,) = [record.getMessage() for record in caplog.records if "speaker" in record.getMessage()]
    assert said.startswith("cuts without a speaker: 3, the first new; each is normalised by its own statistics")


def test_they_are_scored_where_transcripts_come_later(files: list[Path], decode: Callable[..., Any], tmp_path: Path) -> None:
    printed = json.loads(decode("--audio", *files, "--system", "mine", "--json").out)
    assert (printed["system"], printed["error_rate"]) == ("mine", None)
    folder, texts = tmp_path / "new", tmp_path / "text"
    assert main(["score", str(folder), "--quiet"]) == 1
    texts.write_text("new a b\nhalf\ntwo_words a\n")
    assert main(["score", str(folder), "--ref", str(texts), "--out", str(tmp_path / "score.json"), "--quiet"]) == 0
    assert read_json(tmp_path / "score.json")["words"] == 3


def test_a_cutset_of_the_same_files_says_the_same(files: list[Path], decode: Callable[..., Any], tmp_path: Path) -> None:
    def rows(*words: object) -> list[dict[str, Any]]:
        decode(*words, "--system", "x", "--quiet")
        return [{**row, "speaker": None} for row in read_jsonl(tmp_path / "new" / "hypotheses.jsonl")]

    cuts = [Recording.from_file(path, recording_id=f"r{i}").to_cut() for i, path in enumerate(files)]
    for cut, path in zip(cuts, files, strict=True):
        cut.id = path.stem.replace(" ", "_")
    manifest = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(manifest)
    expected = rows("--audio", *files)
    assert rows("--cuts", manifest) == expected
    (tmp_path / "utt2spk").write_text("".join(f"{cut.id} {cut.id}\n" for cut in cuts))
    assert rows("--audio", *files, "--utt2spk", tmp_path / "utt2spk") == expected  # a speaker of one file stands alone
    assert rows("--audio", *files, "--speaker", "ann") != expected
    for cut in cuts:  # cuts with speakers are as in training: by the statistics of the speaker's cuts alone
        cut.supervisions = [SupervisionSegment(cut.id, cut.recording_id, 0, cut.duration, speaker=cut.id)]
    CutSet.from_cuts(cuts).to_file(manifest)
    assert rows("--cuts", manifest) != expected


def test_files_of_one_speaker_are_pooled(files: list[Path], decode: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    """The mean of the pooled frames and of a typical training speaker, in proportion to their frames."""
    student = Student.load(bundle)
    prior = student.normalisation.prior
    assert prior is not None
    decode("--audio", *files, "--speaker", "ann")
    features = [student.features(path) for path in files]
    pooled = prior + Moments.of(np.concatenate(features))
    window = [student.window(torch.from_numpy((rows - pooled.mean) / pooled.scale()).float()) for rows in features]
    for inputs, row in zip(window, read_jsonl(tmp_path / "new" / "hypotheses.jsonl"), strict=True):
        scores = student.log_likelihoods(inputs)
        assert row["hypothesis"].split() == ["a"] * int((scores.argmax(1) == scores.shape[1] - 1).sum())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--speaker", "ann", "--utt2spk", "utt2spk"), "--speaker is of all files, --utt2spk of each"),
        (("--utt2spk", "utt2spk"), "has no line for 'half'; the id of a file is its name without suffix"),
    ],
)
def test_speakers_of_files_are_said_once_and_of_each(
    files: list[Path], decode: Callable[..., Any], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "utt2spk").write_text("new ann\n")
    placed = [tmp_path / word if word == "utt2spk" else word for word in words]
    assert said in decode("--audio", *files, *placed, status=1).err


def test_the_scale_is_the_bundles_unless_given(
    bundle: Path, files: list[Path], decode: Callable[..., Any], tmp_path: Path
) -> None:
    def scale(*words: object) -> float:
        found = json.loads(decode("--audio", files[0], "--json", *words).out)["acoustic_scale"]
        assert isinstance(found, float)
        return found

    assert scale() == 0.1
    set_acoustic_scale(bundle, 0.3)
    assert scale() == 0.3
    assert scale("--acoustic-scale", 0.2) == 0.2
    write_json(tmp_path / "tuned.json", {"acoustic_scale": 0.7})
    assert scale("--scales-from", tmp_path / "tuned.json") == 0.7


def test_a_channel_is_chosen(files: list[Path], decode: Callable[..., Any], tmp_path: Path) -> None:
    samples, rate = soundfile.read(files[0])
    soundfile.write(tmp_path / "stereo.wav", np.stack([samples * 0, samples], 1), rate, subtype="PCM_16")
    assert "has channels [0, 1]; pick one with --channel" in decode("--audio", tmp_path / "stereo.wav", status=1).err
    decode("--audio", tmp_path / "stereo.wav", "--channel", 1)
    (stereo,) = read_jsonl(tmp_path / "new" / "hypotheses.jsonl")
    decode("--audio", files[0])
    (mono,) = read_jsonl(tmp_path / "new" / "hypotheses.jsonl")
    assert {**stereo, "id": "new"} == mono


def test_mistakes_are_explained(files: list[Path], decode: Callable[..., Any], tmp_path: Path) -> None:
    again = tmp_path / "again" / "new.wav"
    again.parent.mkdir()
    again.write_bytes(files[0].read_bytes())
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "short.wav").write_bytes(files[0].read_bytes()[:2000])
    manifest = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts([Recording.from_file(files[0]).to_cut()]).to_file(manifest)
    cuts = ["--cuts", manifest, "--system", "x"]
    for words, message in (
        (["--audio", files[0], again], f"{files[0]} and {again} would both have the id 'new'"),
        (["--audio", tmp_path / "nowhere.wav"], "no such audio file"),
        (["--audio", files[0].parent], "is a folder; name the audio files in it"),
        (["--audio", tmp_path / "text.wav"], "not audio that is read here"),
        (["--audio", tmp_path / "empty.wav"], "is empty (0 bytes)"),
        (["--audio", tmp_path / "short.wav"], "truncated"),
        (["--audio", files[0], "--scale-grid", "0.1,0.2"], "audio alone has no transcripts"),
        (["--cuts", manifest], "--system is missing"),
        ([*cuts, "--channel", 0], "--channel belongs to --audio"),
        ([*cuts, "--scale-grid", "0.1,0.2"], f"{manifest} has no transcripts"),
    ):
        assert message in decode(*words, status=1).err
    assert not (tmp_path / "new").exists()
    with pytest.raises(SystemExit):
        decode("--audio", files[0], *cuts)


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["decode", "--help"])
    assert "--audio one.wav two.flac --output decode/new" in capsys.readouterr().out


def test_digital_silence_has_no_words(
    files: list[Path], decode: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in (("zeros", 0.0), ("constant", 0.25)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(16000, value), 16000)
    printed = decode("--audio", files[0], tmp_path / "zeros.wav", tmp_path / "constant.wav")
    rows = {row["id"]: row for row in read_jsonl(tmp_path / "new" / "hypotheses.jsonl")}
    assert (rows["zeros"]["hypothesis"], rows["constant"]["hypothesis"]) == ("", "")
    assert rows["new"]["hypothesis"] != ""
    assert "zeros: (digital silence)\n" in printed.out
    assert read_json(tmp_path / "new" / "decode.json")["silent"] == ["constant", "zeros"]
    (said,) = [record.getMessage() for record in caplog.records if "silence" in record.getMessage()]
    assert said.startswith("digital silence, every sample alike: 2, the first zeros; there are no words in it")


def test_telephone_speech_is_said_whatever_the_header_says(
    files: list[Path], decode: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    narrow = resample_sharply(soundfile.read(files[1], dtype="float32")[0], 8000, 16000)
    soundfile.write(tmp_path / "narrow.wav", narrow, 16000)
    decode("--audio", files[0], files[1], tmp_path / "narrow.wav")
    assert read_json(tmp_path / "new" / "decode.json")["narrow"] == ["half", "narrow"]
    (said,) = [record.getMessage() for record in caplog.records if "4 kHz" in record.getMessage()]
    assert said.startswith("nothing above 4 kHz, as telephone speech: 2, the first half; the model hears audio of 16000 Hz")
    caplog.clear()
    decode("--audio", files[0], files[2])
    assert "4 kHz" not in caplog.text


def test_a_share_of_bad_files_may_be_left_out(files: list[Path], decode: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    loud = np.full(16000, 1e30, np.float64)
    soundfile.write(tmp_path / "loud.wav", loud, 16000, subtype="DOUBLE")
    bad = [tmp_path / "text.wav", tmp_path / "loud.wav"]
    assert "not audio" in decode("--audio", *files, *bad, status=1).err
    printed = decode("--audio", *files, *bad, "--max-bad-share", 0.4)
    assert [row["id"] for row in read_jsonl(tmp_path / "new" / "hypotheses.jsonl")] == ["new", "half", "two_words"]
    assert f"2 left out, not scored: {bad[0]} {bad[1]}" in printed.out
    reasons = read_json(tmp_path / "new" / "decode.json")["left_out"]
    assert "not audio" in reasons[str(bad[0])]
    assert "samples reach 1e+30" in reasons[str(bad[1])]
    assert "2 of 5 files could not be searched" in decode("--audio", *files, *bad, "--max-bad-share", 0.3, status=1).err


def test_a_cut_with_other_labels_is_left_out(corpus: Any, bundle: Path, decode: Callable[..., Any], tmp_path: Path) -> None:
    cuts = [fastcopy(cut, custom={**cut.custom, "senones_hash": corpus.inventory.hash}) for cut in corpus.cuts]
    with NumpyFilesWriter(tmp_path / "labels") as writer:
        short = writer.store_array(
            "short", np.zeros(cuts[1].num_frames - 1, np.int32), frame_shift=0.01, temporal_dim=0, start=0
        )
    cuts[1].custom["senones"] = short
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    words = ["--cuts", tmp_path / "cuts.jsonl.gz", "--system", "x"]
    assert "cut u2" in decode(*words, status=1).err
    assert "1 left out, not scored: u2" in decode(*words, "--max-bad-share", 0.25).out
    rows = {row["id"]: row for row in read_jsonl(tmp_path / "new" / "hypotheses.jsonl")}
    assert set(rows) == {"u1", "u3", "u4"}
    assert all(row["correct_frames"] is not None for row in rows.values())


def test_real_cases_are_decoded_or_refused(audio_cases: Path, decode: Callable[..., Any], tmp_path: Path) -> None:
    whole = [audio_cases / name for name in ("sox_pipe.wav", "gst.wav", "zero.wav", "piped.flac")]
    decode("--audio", *whole)
    rows = list(read_jsonl(tmp_path / "new" / "hypotheses.jsonl"))
    assert {(row["frames"], row["hypothesis"]) for row in rows} == {(410, rows[0]["hypothesis"])}
    assert [row["score"] for row in rows] == pytest.approx([rows[0]["score"]] * 4)  # the place in a batch moves the last digit
    for name in ("cut.opus", "cut.flac"):
        assert "truncated" in decode("--audio", audio_cases / name, status=1).err


def test_json_gives_the_words(files: list[Path], decode: Callable[..., Any], tmp_path: Path) -> None:
    printed = json.loads(decode("--audio", *files, "--json").out)
    rows = read_jsonl(tmp_path / "new" / "hypotheses.jsonl")
    assert printed["hypotheses"] == [
        {"id": row["id"], "audio": str(path), "hypothesis": row["hypothesis"]} for row, path in zip(rows, files, strict=True)
    ]
    assert printed["failed"] == {}


def test_a_bad_file_does_not_stop_the_rest(files: list[Path], decode: Callable[..., Any], tmp_path: Path) -> None:
    decode("--audio", *files)
    expected = [row["hypothesis"] for row in read_jsonl(tmp_path / "new" / "hypotheses.jsonl")]
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "short.wav").write_bytes(files[0].read_bytes()[:2000])
    soundfile.write(tmp_path / "tiny.wav", np.zeros(3), 16000)
    bad = [tmp_path / name for name in ("text.wav", "short.wav", "tiny.wav", "nowhere.wav")]
    printed = decode("--audio", bad[0], files[0], *bad[1:3], *files[1:], bad[3], "--json", status=1)
    said = json.loads(printed.out)
    assert [row["hypothesis"] for row in said["hypotheses"]] == expected
    assert [row["hypothesis"] for row in read_jsonl(tmp_path / "new" / "hypotheses.jsonl")] == expected
    assert list(said["failed"]) == [str(path) for path in bad]
    assert "4 of 7 files could not be searched; the rest are written" in printed.err
    assert all(str(path) in printed.err for path in bad)


def test_exchanged_and_mistaken_folders_are_recognised(
    bundle: Path, graph: Path, files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(given_graph: Path, given_model: Path) -> str:
        words = ["--graph", str(given_graph), "--model", str(given_model), "--audio", str(files[0])]
        assert main(["decode", *words, "--output", str(tmp_path / "new")]) == 1
        return capsys.readouterr().err

    assert f"{bundle} is not a graph folder (no graph.json); it is a model bundle (--model): exchanged" in told(bundle, graph)
    assert "it is a decoding graph (--graph): exchanged" in told(graph, graph)
    models = tmp_path / "models"
    for seed in (0, 1):
        shutil.copytree(bundle, models / f"seed{seed}")
    assert f"it holds the models seed0, seed1: name one, such as {models / 'seed0'}, or" in told(graph, models)
    assert f"it is a file: give the folder, {graph}" in told(graph / "graph.json", bundle)
    assert not (tmp_path / "new").exists()
    assert main(["bundle", "show", str(models)]) == 1
    assert "it holds the models seed0, seed1" in capsys.readouterr().err
