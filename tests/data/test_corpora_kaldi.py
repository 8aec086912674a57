"""Kaldi data directories: relative paths, segments, and everything that is refused before lhotse sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_distill.base import UserError
from asr_distill.data.kaldi_directory import read_kaldi_directory, read_lexicon


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two recordings of a second, with relative paths that begin at the corpus's root."""
    for name in ("r1", "r2"):
        path = tmp_path / "corpus" / "WAVE" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(16000, 0.1), 16000)
    folder = tmp_path / "corpus" / "train"
    folder.mkdir()
    write(folder, "wav.scp", "r2 WAVE/r2.wav", "r1\tWAVE/r1.wav")
    write(folder, "text", "r1 HELLO WORLD", "r2 GOOD BYE")
    write(folder, "utt2spk", "r1 a", "r2 b")
    return folder


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_whole_recordings(data_dir: Path) -> None:
    write(data_dir, "spk2gender", "a f", "b m")
    write(data_dir, "spk2age", "a 7", "b 31")
    first, second = read_kaldi_directory(data_dir)
    assert (first.id, first.speaker, first.text, first.gender, first.custom) == ("r1", "a", "HELLO WORLD", "F", {"age": 7})
    assert (second.id, second.duration) == ("r2", None)
    assert first.audio == data_dir.parent / "WAVE" / "r1.wav"


def test_another_suffix_is_found(data_dir: Path) -> None:
    write(data_dir, "wav.scp", "r1 WAVE/r1.ogg", "r2 WAVE/r2.WAV")
    assert [row.audio.name for row in read_kaldi_directory(data_dir)] == ["r1.wav", "r2.wav"]


def test_segments(data_dir: Path) -> None:
    write(data_dir, "segments", "u1 r1 0.1 0.4", "u2 r1 0.5 -1", "u3 r2 0 1.0")
    write(data_dir, "text", "u1 ONE", "u2 TWO", "u3 THREE")
    write(data_dir, "utt2spk", "u1 a", "u2 a", "u3 b")
    rows = read_kaldi_directory(data_dir)
    assert [(row.id, row.recording_id, row.start) for row in rows] == [("u1", "r1", 0.1), ("u2", "r1", 0.5), ("u3", "r2", 0.0)]
    assert [row.duration for row in rows] == [pytest.approx(0.3), None, pytest.approx(1.0)]


def test_a_missing_transcript_comes_back_empty(data_dir: Path) -> None:
    write(data_dir, "text", "r1 HELLO WORLD", "r2")
    assert [row.text for row in read_kaldi_directory(data_dir)] == ["HELLO WORLD", ""]
    write(data_dir, "text", "r1 HELLO WORLD")
    assert [row.text for row in read_kaldi_directory(data_dir)] == ["HELLO WORLD", ""]


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("wav.scp", ["r1 sph2pipe -f wav a.sph |", "r2 WAVE/r2.wav"], r"r1 is a command.*commands are not run"),
        ("wav.scp", ["r1 WAVE/r1.wav", "r1 WAVE/r2.wav"], r"wav\.scp, line 2: duplicate id 'r1'"),
        ("wav.scp", ["r1 WAVE/none.wav", "r2 WAVE/r2.wav"], r"r1: WAVE/none\.wav does not exist"),
        ("wav.scp", ["r1", "r2 WAVE/r2.wav"], "'r1' stands alone"),
        ("text", ["r1 HELLO", "r1 AGAIN"], "text, line 2: duplicate id 'r1'"),
        ("text", ["r9 HELLO"], r"1 utterances are in text and not in wav\.scp, the first is r9"),
        ("utt2spk", ["r1 a"], r"1 utterances are in wav\.scp and not in utt2spk, the first is r2"),
        ("segments", ["r1 r1 0.1", "r2 r2 0 1"], "expected RECORDING START END, found 'r1 0.1'"),
        ("segments", ["r1 r9 0 1", "r2 r2 0 1"], "belongs to recording 'r9'"),
    ],
)
def test_refusals(data_dir: Path, name: str, lines: list[str], message: str) -> None:
    write(data_dir, name, *lines)
    with pytest.raises(UserError, match=message):
        read_kaldi_directory(data_dir)


@pytest.mark.parametrize("name", ["wav.scp", "text", "utt2spk"])
def test_a_missing_file_is_named(data_dir: Path, name: str) -> None:
    (data_dir / name).unlink()
    with pytest.raises(UserError, match=f"{name} does not exist"):
        read_kaldi_directory(data_dir)


def test_a_command_is_never_run(data_dir: Path, tmp_path: Path) -> None:
    write(data_dir, "wav.scp", f"r1 touch {tmp_path / 'ran'} |", "r2 WAVE/r2.wav")
    with pytest.raises(UserError):
        read_kaldi_directory(data_dir)
    assert not (tmp_path / "ran").exists()


def test_lexicon(tmp_path: Path) -> None:
    write(tmp_path, "lexicon.txt", "A\tAH0", "A\tEY1", "A  AH0", "BE B  IY1")
    assert read_lexicon(tmp_path / "lexicon.txt") == "A AH0\nA EY1\nBE B IY1\n"
    write(tmp_path, "lexicon.txt", "A AH0", "BE")
    with pytest.raises(UserError, match="line 2: BE has no pronunciation"):
        read_lexicon(tmp_path / "lexicon.txt")
