"""local/prepare_kaldi.py as a user runs it: hand-made Kaldi directories and CutSets, without dev, and broken."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from asr_distill.base import UserError, read_json

ROOT = Path(__file__).resolve().parent.parent.parent
LEXICON = "ONE W AH N\nTWO T UW\nSIX S IH K S\n"
SPEAKERS = "abcdef"


def prepare(*options: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "local" / "prepare_kaldi.py"), *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    for part in parts:
        assert part in message


def kaldi_directory(folder: Path, speakers: Sequence[str], rate: int = 16000, prefix: str = "") -> Path:
    """A recording of a second for each speaker, spoken in two segments; paths relative to the folder where data/ lies."""
    folder.mkdir(parents=True)
    lines: dict[str, list[str]] = {name: [] for name in ("wav.scp", "segments", "text", "utt2spk")}
    for number, speaker in enumerate(speakers):
        name = f"{prefix}{speaker}"
        path = folder.parent.parent / "wav files" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.random.default_rng(number).standard_normal(rate) / 10, rate)
        lines["wav.scp"].append(f"{name}-rec wav files/{name}.wav")
        for index, text in enumerate(("ONE TWO", "TWO")):
            lines["segments"].append(f"{name}-{index} {name}-rec {index / 2} {index / 2 + 0.5}")
            lines["text"].append(f"{name}-{index} {text}")
            lines["utt2spk"].append(f"{name}-{index} {name}")
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def cut_set(path: Path, speaker: str | None, text: str = "SIX", rate: int = 16000) -> Path:
    """One cut, with an id that no file could have, of a recording that lies beside the manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = path.parent / f"{path.name.split('.')[0]} é.flac"
    soundfile.write(audio, np.random.default_rng(7).standard_normal(rate) / 10, rate)
    recording = Recording.from_file(audio, recording_id=f"../{path.name}")
    recording.sources[0].source = audio.name
    supervision = SupervisionSegment(f"s-{path.name}", recording.id, 0.0, 1.0, text=text, speaker=speaker)
    cut = MonoCut(f"-{path.name}/ä b", 0.0, 1.0, 0, [supervision], recording=recording)
    CutSet.from_cuts([cut]).to_file(path)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> list[str]:
    """A training part of Kaldi's and a test part of lhotse's, of another rate."""
    (tmp_path / "lexicon.txt").write_text(LEXICON)
    kaldi_directory(tmp_path / "s5" / "data" / "train", SPEAKERS)
    cut_set(tmp_path / "lhotse" / "cuts_test.jsonl.gz", "z", rate=8000)
    return ["--data-dir", "train=s5/data/train", "test=lhotse/cuts_test.jsonl.gz"]


def test_both_kinds_and_no_dev(corpus: list[str], tmp_path: Path) -> None:
    done = prepare(*corpus, "--lexicon", "lexicon.txt", "--vocabulary", "train", "--output", "m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    described = read_json(tmp_path / "m" / "corpus.json")
    assert described["split"]["dev_speakers"] == ["d"]  # position floor(6 / 2)
    assert {part: counts["utterances"] for part, counts in described["counts"].items()} == {"train": 10, "dev": 2, "test": 1}
    assert described["recordings_by_rate"] == {"8000": 1, "16000": 6}
    assert "recordings at 8000 and 16000 Hz: features resample them" in done.stderr
    assert (tmp_path / "m" / "vocabulary.txt").read_text() == "ONE\nTWO\n"
    assert (tmp_path / "m" / "lexicon.txt").read_text() == "ONE 1 W AH N\nTWO 1 T UW\nSIX 1 S IH K S\n"
    assert not (tmp_path / "m" / "audio").exists()
    cut = next(iter(CutSet.from_file(tmp_path / "m" / "cuts_test.jsonl.gz")))
    assert (cut.id, cut.sampling_rate, cut.load_audio().shape) == ("-cuts_test.jsonl.gz/ä b", 8000, (1, 8000))
    again = prepare(*corpus, "--lexicon", "lexicon.txt", "--sampling-rate", "16000", "--output", "m", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    cut = next(iter(CutSet.from_file(tmp_path / "m" / "cuts_test.jsonl.gz")))
    assert (cut.sampling_rate, cut.load_audio().shape) == (16000, (1, 16000))
    assert [path.name for path in (tmp_path / "m" / "audio").glob("*.wav")] == ["..%2Fcuts_test.jsonl.gz.wav"]


def test_what_cannot_be_used_is_listed_and_may_be_left_out(corpus: list[str], tmp_path: Path) -> None:
    train = tmp_path / "s5" / "data" / "train"
    texts = (train / "text").read_text().replace("a-0 ONE TWO", "a-0").replace("b-1 TWO", f"b-1{' SIX' * 5}")
    (train / "text").write_text(texts)
    options = [*corpus, "--lexicon", "lexicon.txt", "--output", "m"]
    refused(
        prepare(*options, cwd=tmp_path),
        *("2 of 13 utterances cannot be used", "a-0: ", "the transcript is empty or missing", "--allow-bad 0.154 or more"),
        "b-1: ",
        "0.500 s are too short for 'SIX SIX SIX SIX SIX': its 20 phones take 60 frames",
    )
    assert not (tmp_path / "m").exists()
    done = prepare(*options, "--allow-bad", "0.2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in read_json(tmp_path / "m" / "corpus.json")["left_out"]] == ["a-0", "b-1"]


def test_without_a_dictionary(corpus: list[str], tmp_path: Path) -> None:
    options = [*corpus, "--lang-kind", "subwords", "--output", "m"]
    refused(prepare(*options, cwd=tmp_path), "1 of 13", "has 'I' 'S' 'X', which no transcript of the training part has")
    cut_set(tmp_path / "lhotse" / "cuts_test.jsonl.gz", "z", "TOW")
    assert prepare(*options, cwd=tmp_path).returncode == 0
    assert not (tmp_path / "m" / "lexicon.txt").exists()


def test_a_test_set_alone_for_a_trained_model(corpus: list[str], tmp_path: Path) -> None:
    done = prepare("--data-dir", "test=s5/data/train", "--output", "m", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "m").glob("cuts_*")) == ["cuts_test.jsonl.gz"]
    assert read_json(tmp_path / "m" / "corpus.json")["counts"]["test"]["utterances"] == 12
    refused(prepare("--data-dir", "test=s5/data/train", "dev=x", "--output", "m2", cwd=tmp_path), "or test=PATH alone")


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--lexicon", "none.txt"], ["none.txt does not exist"]),
        (["--cmudict", "yes", "--dev-speakers", "6"], ["6 speakers are too few to set aside 6 for dev"]),
        (["--sampling-rate", "0"], ["--sampling-rate 0: expected a number of hertz"]),
        (["--arpa", "none.arpa", "--cmudict", "yes"], ["none.arpa does not exist"]),
        (
            ["--data-dir", "train=s5/data/train", "test=nowhere"],
            ["test: nowhere does not exist; expected a Kaldi data directory"],
        ),
        (["--data-dir", "train=s5/data/train"], ["expected train=PATH test=PATH"]),
        (["--data-dir", "train=s5/data/train", "test=", "dev=x"], ["expected train=PATH test=PATH"]),
        (["--data-dir", "train=s5/data/train", "test=lexicon.txt"], ["lexicon.txt is not a lhotse CutSet"]),
        (["--data-dir", "train=s5/data/train", "test=s5"], ["s5/wav.scp does not exist"]),
        (["--data-dir", "train=s5/data/train", "test=s5/data/train"], ["a-rec", "is in both train and test"]),
        (
            ["--data-dir", "train=s5/data/train", "test=lhotse/cuts_test.jsonl.gz", "dev=s5/data/few", "--dev-speakers", "1"],
            ["--dev-speakers 1 is for a corpus without dev"],
        ),
        (
            ["--data-dir", "train=s5/data/few", "test=lhotse/cuts_test.jsonl.gz"],
            ["the training part has 2 speakers", "--dev", "--dev-speakers 1"],
        ),
        (
            ["--data-dir", "train=s5/data/train", "test=lhotse/cuts_nobody.jsonl.gz"],
            ["1 of 1 supervisions name no speaker", "--speaker-from recording"],
        ),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_mistakes_are_one_line(
    corpus: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], messages: list[str]
) -> None:
    kaldi_directory(tmp_path / "s5" / "data" / "few", "xy", prefix="few-")
    cut_set(tmp_path / "lhotse" / "cuts_nobody.jsonl.gz", None)
    given = options if "--data-dir" in options else [*corpus, *options]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refusal:
        runpy.run_path(str(ROOT / "local" / "prepare_kaldi.py"))["main"]([*given, "--output", "m"])
    for message in messages:
        assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "m").exists()


def test_a_corpus_of_commands_marks_and_accents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, speakers in (("train", SPEAKERS), ("test", "xy")):
        folder = kaldi_directory(tmp_path / "s5" / "data" / part, speakers)
        (folder / "utt2spk").unlink()
        commands = [
            f"{name} cat '{file}' |" for name, file in (line.split(maxsplit=1) for line in lines_of(folder / "wav.scp"))
        ]
        (folder / "wav.scp").write_text("\n".join(commands), encoding="utf-8")
        (folder / "text").write_text((folder / "text").read_text().replace("ONE", "cafe\u0301"), encoding="utf-8-sig")
    (tmp_path / "lexicon.txt").write_text("caf\u00e9 K AE F EY\nTWO T UW\n", encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "local" / "prepare_kaldi.py"))["main"]
    given = ["--data-dir", "train=s5/data/train", "test=s5/data/test", "--lexicon", "lexicon.txt", "--output", "m"]
    with pytest.raises(UserError, match="train has neither utt2spk nor spk2utt"):
        main(given)
    main([*given, "--speaker-from", "recording"])
    assert (tmp_path / "m" / "vocabulary.txt").read_text(encoding="utf-8") == "TWO\ncaf\u00e9\n"
    cuts = list(CutSet.from_file(tmp_path / "m" / "cuts_test.jsonl.gz"))
    assert [cut.supervisions[0].speaker for cut in cuts] == ["x-rec", "x-rec", "y-rec", "y-rec"]
    assert cuts[0].supervisions[0].text == "caf\u00e9 TWO"


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_a_corpus_of_one_speaker(tmp_path: Path) -> None:
    """As Kaldi's yesno, whose recordings are all by ``global``."""
    for part, first in (("train", 0), ("test", 20)):
        folder = kaldi_directory(tmp_path / "data" / part, [f"r{n + first}" for n in range(10)])
        ids = [line.split()[0] for line in (folder / "text").read_text().splitlines()]
        (folder / "utt2spk").write_text("".join(f"{id} global\n" for id in ids), encoding="utf-8")
    (tmp_path / "lexicon.txt").write_text(LEXICON, encoding="utf-8")
    options = ["--data-dir", "train=data/train", "test=data/test", "--lexicon", "lexicon.txt", "--output", "out"]
    refused(prepare(*options, cwd=tmp_path), "1 speakers", "--allow-shared-speakers")
    refused(prepare(*options, "--dev-speakers", "1", cwd=tmp_path), "too few to set aside")
    done = prepare(*options, "--allow-shared-speakers", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 speakers are in both train and test: global; figures mean nothing for new speakers" in done.stderr
    corpus = read_json(tmp_path / "out" / "corpus.json")
    assert corpus["shared_speakers"] == {pair: ["global"] for pair in ("train and dev", "train and test", "dev and test")}
    assert (corpus["counts"]["train"]["utterances"], corpus["counts"]["dev"]["utterances"]) == (16, 4)
    (tmp_path / "data" / "dev").symlink_to("test")
    given = [*options, "--data-dir", "train=data/train", "dev=data/test", "test=data/test"]
    refused(prepare(*given, cwd=tmp_path), "in both dev and test")
