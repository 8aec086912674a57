"""The preparation scripts as a user runs them: a small AN4, a small speechocean762, broken ones, and the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from asr_distill.base import read_json, read_jsonl
from asr_distill.data.demo_sentences import vocabulary

ROOT = Path(__file__).resolve().parent.parent.parent


def prepare(script: str, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("AN4_DIR", "SPEECHOCEAN762_DIR")}
    command = [sys.executable, str(ROOT / "local" / f"prepare_{script}.py"), *map(str, options)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**clean, "OMP_NUM_THREADS": "1", **environment}, check=False
    )


def refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    message = result.stderr[result.stderr.index("error: ") :]
    for part in parts:
        assert part in message


def samples(seed: int, length: int = 8000) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(length + 15)
    return (np.convolve(noise, np.ones(16) / 16, "valid") * 8000).astype(np.int16)


@pytest.fixture
def small_an4(tmp_path: Path) -> Path:
    """Six training speakers and one test speaker in AN4's layout, in wav and in big-endian raw."""
    corpus = tmp_path / "an4"
    (corpus / "etc").mkdir(parents=True)
    number = 0
    for part, folder, speakers in (("train", "an4_clstk", "faaa fbbb mccc mddd meee mfff"), ("test", "an4test_clstk", "mggg")):
        ids, transcripts = [], []
        for speaker in speakers.split():
            for index in range(2):
                number += 1
                stem = f"{folder}/{speaker}/cen{index}-{speaker}-b"
                path = corpus / "wav" / stem
                path.parent.mkdir(parents=True, exist_ok=True)
                if index:
                    path.with_suffix(".raw").write_bytes(samples(number).astype(">i2").tobytes())
                else:
                    soundfile.write(path.with_suffix(".wav"), samples(number), 16000)
                ids.append(stem)
                transcripts.append(f"<s> YES NO </s> ({path.name})")
        (corpus / "etc" / f"an4_{part}.fileids").write_text("\n".join(ids) + "\n")
        (corpus / "etc" / f"an4_{part}.transcription").write_text("\n".join(transcripts) + "\n")
    (corpus / "etc" / "an4.dic").write_text("NO  N OW\nYES  Y EH S\nYES(2)  Y EH\n")
    (corpus / "etc" / "an4.ug.lm").write_text(
        "Beginning of data mark: \\data\\\n\n\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-0.4771\t</s>\t-99.0000\n"
        "-99.0000\t<s>\t 0.0000\n-0.4771\tNO\t 0.0000\n-0.4771\tYES\t 0.0000\n\n\\2-grams:\n0.0000 <s> </s>\n\\end\\\n"
    )
    return corpus


def test_an4_as_it_is(an4_dir: Path, tmp_path: Path) -> None:
    result = prepare("an4", "--corpus-dir", an4_dir, "--output", tmp_path / "manifests")
    assert result.returncode == 0, result.stderr
    corpus = read_json(tmp_path / "manifests" / "corpus.json")
    found = {part: (counts["utterances"], counts["speakers"], counts["words"]) for part, counts in corpus["counts"].items()}
    assert found == {"train": (844, 66, 4826), "dev": (104, 8, 616), "test": (130, 10, 773)}
    assert len(corpus["test_transcripts_in_training_text"]) == 26
    assert corpus["words_not_in_lexicon"] == {}
    assert not (tmp_path / "manifests" / "audio").exists()  # wav is used where it lies
    speakers = {
        part: {row["supervisions"][0]["speaker"] for row in read_jsonl(tmp_path / "manifests" / f"cuts_{part}.jsonl.gz")}
        for part in corpus["counts"]
    }
    assert sorted(speakers["dev"]) == corpus["split"]["dev_speakers"]
    assert not speakers["train"] & speakers["dev"]


def test_an4_that_is_not_complete(small_an4: Path, tmp_path: Path) -> None:
    output = tmp_path / "exp" / "manifests"
    refused(
        prepare("an4", "--output", output, AN4_DIR=str(small_an4)),
        *("utterances 12 instead of 948", "speakers 6 instead of 74", "--allow-partial"),
    )
    assert not output.parent.exists()
    result = prepare("an4", "--output", output, "--allow-partial", AN4_DIR=str(small_an4))
    assert result.returncode == 0, result.stderr
    assert {path.name for path in output.iterdir()} == {
        *("audio", "corpus.json", "lexicon.txt", "uniform.arpa", "asr-distill.sha256"),
        *(f"cuts_{part}.jsonl.gz" for part in ("train", "dev", "test")),
    }
    cuts = CutSet.from_file(output / "cuts_test.jsonl.gz").to_eager()
    assert [cut.supervisions[0].text for cut in cuts] == ["YES NO", "YES NO"]
    expected = samples(14).astype(np.float32) / 32768  # the last one, distributed as big-endian raw
    np.testing.assert_array_equal(cuts["cen1-mggg-b"].load_audio()[0], expected)
    assert (output / "lexicon.txt").read_text() == "NO N OW\nYES Y EH\nYES Y EH S\n"
    arpa = (output / "uniform.arpa").read_text()
    assert arpa.count("\\data\\") == 1
    assert "ngram 1=4" in arpa
    assert "2-grams" not in arpa


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        ("missing audio", ["found 11 of the 12 train recordings", "wav/an4_clstk/faaa/cen0-faaa-b"]),
        ("truncated audio", ["cen0-faaa-b.wav: truncated", "1 of 14 utterances cannot be used"]),
        ("no transcript", ["lists cen0-faaa-b", "an4_train.transcription has no line"]),
        ("duplicate transcript", ["line 2: cen0-faaa-b has a transcript already"]),
        ("listed twice", ["ids must be unique", "cen0-faaa-b"]),
    ],
)
def test_an4_that_is_damaged(small_an4: Path, tmp_path: Path, damage: str, messages: list[str]) -> None:
    audio = small_an4 / "wav" / "an4_clstk" / "faaa" / "cen0-faaa-b.wav"
    transcripts, ids = small_an4 / "etc" / "an4_train.transcription", small_an4 / "etc" / "an4_train.fileids"
    lines = transcripts.read_text().splitlines()
    if damage == "missing audio":
        audio.unlink()
    elif damage == "truncated audio":
        audio.write_bytes(audio.read_bytes()[:999])
    elif damage == "no transcript":
        transcripts.write_text("\n".join(lines[1:]) + "\n")
    elif damage == "duplicate transcript":
        transcripts.write_text("\n".join([lines[0], *lines]) + "\n")
    elif damage == "listed twice":
        ids.write_text(ids.read_text().splitlines()[0] + "\n" + ids.read_text())
    allow = [] if damage == "missing audio" else ["--allow-partial"]
    output = tmp_path / "exp" / "manifests"
    refused(prepare("an4", "--corpus-dir", small_an4, "--output", output, *allow), *messages)
    assert not output.parent.exists() or not any(output.parent.iterdir())


def test_speechocean762_speakers_are_balanced(speechocean762_dir: Path, tmp_path: Path) -> None:
    result = prepare("speechocean762", "--corpus-dir", speechocean762_dir, "--output", tmp_path / "manifests")
    assert result.returncode == 0, result.stderr
    corpus = read_json(tmp_path / "manifests" / "corpus.json")
    assert {part: counts["speakers"] for part, counts in corpus["counts"].items()} == {"train": 85, "dev": 10, "test": 30}
    assert corpus["split"]["children"] == {"train": 39, "dev": 5, "test": 14}  # 58 of 125
    row = next(iter(read_jsonl(tmp_path / "manifests" / "cuts_dev.jsonl.gz")))["supervisions"][0]
    assert row["gender"] in ("F", "M")
    assert row["custom"]["age"] > 0


def test_speechocean762_official_split(tmp_path: Path) -> None:
    corpus = tmp_path / "speechocean762"
    (corpus / "resource").mkdir(parents=True)
    (corpus / "resource" / "lexicon.txt").write_text("YES\tY EH1 S\n")
    for half, names in (("train", range(14)), ("test", range(20, 24))):
        (corpus / half).mkdir()
        table: dict[str, list[str]] = {name: [] for name in ("wav.scp", "text", "utt2spk", "spk2gender", "spk2age")}
        for name in names:
            path = corpus / "WAVE" / f"{name:04d}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, samples(name), 16000)
            table["wav.scp"].append(f"{name:04d}1\tWAVE/{name:04d}.WAV")
            table["text"].append(f"{name:04d}1\tYES")
            table["utt2spk"].append(f"{name:04d}1\t{name:04d}")
            table["spk2gender"].append(f"{name:04d}\t{'fm'[name % 2]}")
            table["spk2age"].append(f"{name:04d}\t{8 if name % 4 < 2 else 30}")
        for name, lines in table.items():
            (corpus / half / name).write_text("\n".join(lines) + "\n")
    options = ("--split", "official", "--allow-partial", "--output", tmp_path / "manifests", "--corpus-dir", corpus)
    result = prepare("speechocean762", *options)
    assert result.returncode == 0, result.stderr
    found = read_json(tmp_path / "manifests" / "corpus.json")
    assert found["split"]["test_speakers"] == ["0020", "0021", "0022", "0023"]
    assert {part: counts["speakers"] for part, counts in found["counts"].items()} == {"train": 13, "dev": 1, "test": 4}
    (corpus / "test" / "wav.scp").unlink()
    refused(prepare("speechocean762", *options), "test/wav.scp does not exist", "--split speakers")
    assert read_json(tmp_path / "manifests" / "corpus.json") == found  # what was there stays


def test_kaldi_directories(tmp_path: Path) -> None:
    for index, part in enumerate(("train", "dev", "test")):
        (tmp_path / part).mkdir()
        soundfile.write(tmp_path / f"{part}.wav", samples(index), 16000)
        (tmp_path / part / "wav.scp").write_text(f"{part}-1 {part}.wav\n")
        (tmp_path / part / "text").write_text(f"{part}-1 JA\n")
        (tmp_path / part / "utt2spk").write_text(f"{part}-1 {part}\n")
    parts = [f"{part}={tmp_path / part}" for part in ("train", "dev", "test")]
    result = prepare("kaldi", "--data-dir", *parts, "--output", tmp_path / "manifests", "--name", "mine")
    assert result.returncode == 0, result.stderr
    assert read_json(tmp_path / "manifests" / "corpus.json")["name"] == "mine"
    refused(prepare("kaldi", "--data-dir", *parts[:2], "--output", tmp_path / "other"), "expected train=PATH test=PATH")


def test_demo_is_the_same_to_the_byte_and_keeps_its_parts_apart(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="the demo extra is not installed")
    corpora = []
    for name in ("one", "two"):
        result = prepare("demo", "--size", "tiny", "--output", tmp_path / name / "manifests")
        assert result.returncode == 0, result.stderr
        corpora.append(read_json(tmp_path / name / "manifests" / "corpus.json"))
    assert corpora[0]["audio_sha256"] == corpora[1]["audio_sha256"]
    assert corpora[0] == corpora[1]
    assert corpora[0]["source"] == "synthesised"
    assert corpora[0]["words_not_in_lexicon"] == {}
    texts: dict[str, set[str]] = {}
    variants: dict[str, set[str]] = {}
    for part in ("train", "dev", "test"):
        rows = [row["supervisions"][0] for row in read_jsonl(tmp_path / "one" / "manifests" / f"cuts_{part}.jsonl.gz")]
        texts[part] = {row["text"] for row in rows}
        variants[part] = {row["speaker"].split("_")[1] for row in rows}
        assert {row["custom"]["kind"] for row in rows} == {"spelled", "digits", "date", "name", "command"}
        assert {word for text in texts[part] for word in text.split()} <= set(vocabulary())
    for table in (texts, variants):
        assert not table["train"] & table["test"]
        assert not table["train"] & table["dev"]
        assert not table["dev"] & table["test"]


def test_demo_does_not_replace_an_audio_folder_of_yours(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "concert.wav").touch()
    refused(prepare("demo", "--size", "tiny", "--output", tmp_path / "manifests"), "did not write (concert.wav)")
    assert (tmp_path / "audio" / "concert.wav").exists()
