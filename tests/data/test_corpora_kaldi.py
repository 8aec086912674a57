"""Kaldi data directories: relative paths, segments, and everything that is refused before lhotse sees it."""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet

from asr_distill.base import UserError
from asr_distill.data.corpora import AudioOptions, write_manifests
from asr_distill.data.kaldi_directory import read_kaldi_directory


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


def test_segments_are_read_as_kaldi_reads_them(data_dir: Path) -> None:
    write(data_dir, "segments", "u1 r1 .1 4e-1 0", "u2 r1 0.5 -1.0", "u3 r2 0 1.0 1")
    write(data_dir, "text", "u1 ONE", "u2 TWO", "u3 THREE")
    write(data_dir, "utt2spk", "u1 a", "u2 a", "u3 b")
    rows = read_kaldi_directory(data_dir)
    assert [row.duration for row in rows] == [pytest.approx(0.3), None, pytest.approx(1.0)]
    assert [row.channel for row in rows] == [0, None, 1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("u1 r1 0.4 0.1", "expected a start of 0 or more, and an end that is later"),
        ("u1 r1 -1 0.1", "expected a start of 0 or more"),
        ("u1 r1 0 -2", "or -1 for the recording's"),
        ("u1 r1 0 nan", "expected RECORDING START END"),
        ("u1 r1 0 1 left", "perhaps with a CHANNEL behind"),
        ("u1 r1 0 1 0 0", "perhaps with a CHANNEL behind"),
    ],
)
def test_wrong_segments_are_refused_by_line(data_dir: Path, line: str, says: str) -> None:
    write(data_dir, "segments", "u0 r1 0 1", line)
    with pytest.raises(UserError, match=rf"segments, line 2: u1: .*{says}"):
        read_kaldi_directory(data_dir)


def test_a_missing_transcript_comes_back_empty(data_dir: Path) -> None:
    write(data_dir, "text", "r1 HELLO WORLD", "r2")
    assert [row.text for row in read_kaldi_directory(data_dir)] == ["HELLO WORLD", ""]
    write(data_dir, "text", "r1 HELLO WORLD")
    assert [row.text for row in read_kaldi_directory(data_dir)] == ["HELLO WORLD", ""]


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("wav.scp", ["r2 WAVE/r2.wav", "r1 sph2pipe a.sph |"], r"wav\.scp, line 2: r1 is a command.*commands are not run"),
        (
            "wav.scp",
            ["r1 sox WAVE/r1.wav -t wav - rate 8k |", "r2 WAVE/r2.wav"],
            r"make the line 'r1 WAVE/r1\.wav'; else .*sox WAVE/r1\.wav -t wav - rate 8k > r1\.wav, and name that",
        ),
        ("wav.scp", ["r1 flac -cds WAVE/none.flac |", "r2 WAVE/r2.wav"], r"r1: WAVE/none\.flac does not exist"),
        ("wav.scp", ["r1 WAVE/r1.wav", "r1 WAVE/r2.wav"], r"wav\.scp, line 2: duplicate id 'r1'"),
        ("wav.scp", ["r1 WAVE/none.wav", "r2 WAVE/r2.wav"], r"r1: WAVE/none\.wav does not exist"),
        ("wav.scp", ["r1", "r2 WAVE/r2.wav"], "'r1' stands alone"),
        ("text", ["r1 HELLO", "r1 AGAIN"], "text, line 2: duplicate id 'r1'"),
        ("text", ["r9 HELLO"], r"1 utterances are in text and not in wav\.scp, the first is r9"),
        ("utt2spk", ["r1 a"], r"1 utterances are in wav\.scp and not in utt2spk, the first is r2"),
        ("segments", ["r1 r1 0.1", "r2 r2 0 1"], "segments, line 1: r1: expected RECORDING START END.*found 'r1 0.1'"),
        ("segments", ["r1 r9 0 1", "r2 r2 0 1"], "belongs to recording 'r9'"),
    ],
)
def test_refusals(data_dir: Path, name: str, lines: list[str], message: str) -> None:
    write(data_dir, name, *lines)
    with pytest.raises(UserError, match=message):
        read_kaldi_directory(data_dir)


@pytest.mark.parametrize("name", ["wav.scp", "text"])
def test_a_missing_file_is_named(data_dir: Path, name: str) -> None:
    (data_dir / name).unlink()
    with pytest.raises(UserError, match=f"{name} does not exist"):
        read_kaldi_directory(data_dir)


def test_speakers_come_from_spk2utt_where_utt2spk_is_missing(data_dir: Path) -> None:
    (data_dir / "utt2spk").unlink()
    write(data_dir, "spk2utt", "x r1 r2")
    assert [row.speaker for row in read_kaldi_directory(data_dir)] == ["x", "x"]
    write(data_dir, "spk2utt", "x r1")
    with pytest.raises(UserError, match=r"1 utterances are in wav\.scp and not in spk2utt, the first is r2"):
        read_kaldi_directory(data_dir)
    write(data_dir, "spk2utt", "x r1 r2", "y r2")
    with pytest.raises(UserError, match=r"spk2utt, line 2: the utterance 'r2' is y's and x's"):
        read_kaldi_directory(data_dir)


def test_without_speakers_the_choices_are_named(data_dir: Path) -> None:
    (data_dir / "utt2spk").unlink()
    write(data_dir, "segments", "u1 r1 0 0.4", "u2 r1 0.5 1", "u3 r2 0 1")
    write(data_dir, "text", "u1 ONE", "u2 TWO", "u3 THREE")
    with pytest.raises(UserError, match=r"neither utt2spk nor spk2utt.*--speaker-from recording.*--speaker-from utterance"):
        read_kaldi_directory(data_dir)
    assert [row.speaker for row in read_kaldi_directory(data_dir, speaker_from="recording")] == ["r1", "r1", "r2"]
    assert [row.speaker for row in read_kaldi_directory(data_dir, speaker_from="utterance")] == ["u1", "u2", "u3"]
    write(data_dir, "utt2spk", "u2 a")  # as in a CutSet, only who is not named
    assert [row.speaker for row in read_kaldi_directory(data_dir, speaker_from="recording")] == ["r1", "a", "r2"]


def test_a_command_is_never_run(data_dir: Path, tmp_path: Path) -> None:
    for command in ("touch {} |", "cat WAVE/r1.wav; touch {} |", "cat `touch {}` |", "flac -c -d -s $(touch {}) |"):
        write(data_dir, "wav.scp", f"r1 {command.format(tmp_path / 'ran')}", "r2 WAVE/r2.wav")
        with pytest.raises(UserError, match="commands are not run"):
            read_kaldi_directory(data_dir)
        assert not (tmp_path / "ran").exists()


def test_what_a_command_would_unpack_is_read_itself(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # none of the programs has to be there
    audio = data_dir.parent / "WAVE"
    ramp = np.arange(1600) / 3200
    soundfile.write(audio / "one two.flac", ramp, 16000)
    soundfile.write(audio / "both.sph", np.stack([ramp, -ramp], 1), 16000, format="NIST", subtype="PCM_16")
    lines = ["r1 flac -c -d -s 'WAVE/one two.flac' |", "r2 sph2pipe -f wav -p -c 2 WAVE/both.sph|"]
    write(data_dir, "wav.scp", *lines, "r3 /opt/sph2pipe_v2.5/sph2pipe -f wav -p -c 1 WAVE/both.sph |")
    write(data_dir, "text", "r1 ONE", "r2 TWO", "r3 THREE")
    write(data_dir, "utt2spk", "r1 a", "r2 b", "r3 c")
    rows = read_kaldi_directory(data_dir)
    assert [(row.audio.name, row.channel) for row in rows] == [("one two.flac", None), ("both.sph", 1), ("both.sph", 0)]
    write_manifests(tmp_path / "m", {"train": rows}, {}, options=AudioOptions(None))
    found = {cut.id: cut.load_audio()[0] for cut in CutSet.from_file(tmp_path / "m" / "cuts_train.jsonl.gz")}
    for name, sign in (("r1", 1), ("r2", -1), ("r3", 1)):
        np.testing.assert_allclose(found[name], sign * ramp, atol=1e-4)


def test_a_channel_that_the_file_does_not_have_is_refused(data_dir: Path, tmp_path: Path) -> None:
    write(data_dir, "wav.scp", "r1 sph2pipe -f wav -p -c 2 WAVE/r1.wav |", "r2 sph2pipe -f wav -p -c 1 WAVE/r2.wav |")
    with pytest.raises(
        UserError, match=r"(?s)1 of 2 .*r1: .*r1\.wav: has 1 channels, channel 1, which r1 names, does not exist"
    ):
        write_manifests(tmp_path / "m", {"train": read_kaldi_directory(data_dir)}, {})


def test_marks_and_accents_of_editors(data_dir: Path) -> None:
    plain = read_kaldi_directory(data_dir)
    for name in ("wav.scp", "text", "utt2spk"):
        (data_dir / name).write_bytes(codecs.BOM_UTF8 + b"".join(sorted((data_dir / name).read_bytes().splitlines(True))))
    assert read_kaldi_directory(data_dir) == plain
    write(data_dir, "text", "r1 cafe\u0301", "r2 caf\u00e9")
    assert [row.text for row in read_kaldi_directory(data_dir)] == ["caf\u00e9", "caf\u00e9"]
