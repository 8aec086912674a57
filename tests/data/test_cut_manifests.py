"""CutSets of a user's own: what is taken out of them, and what is refused because it is not in files as it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, MultiCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from asr_distill.base import UserError
from asr_distill.data.corpora import AudioOptions, write_manifests
from asr_distill.data.cut_manifests import read_cut_set

RATE = 8000


def supervision(name: str, start: float, duration: float, **values: Any) -> SupervisionSegment:
    values = {"text": "ONE", "speaker": "s", "gender": "f", **values}
    return SupervisionSegment(id=name, recording_id="r", start=start, duration=duration, channel=0, **values)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Two seconds at 8 kHz; the left channel is 0.25 and the right one rises from 0 to 0.5."""
    path = tmp_path / "data" / "wav" / "r.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.stack([np.full(2 * RATE, 0.25), np.linspace(0, 0.5, 2 * RATE)], axis=1), RATE)
    made = Recording.from_file(path, recording_id="r")
    made.sources[0].source = "wav/r.wav"  # where the manifest's folder is the root
    return made


def cut_set(tmp_path: Path, *cuts: Any) -> Path:
    path = tmp_path / "data" / "cuts.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(path)
    return path


def test_each_supervision_is_an_utterance_of_its_own_span(tmp_path: Path, recording: Recording) -> None:
    many = MonoCut("many", 0.5, 1.5, 1, [supervision("a", 0.1, 0.4), supervision("b", 0.6, 0.9)], recording=recording)
    one = MonoCut("one", 0.0, 1.0, 0, [supervision("z", 0.25, 0.5, text=None, gender=None)], recording=recording)
    rows = {row.id: row for row in read_cut_set(cut_set(tmp_path, many, one))}
    assert list(rows) == ["a", "b", "one"]
    assert [(row.start, row.duration) for row in rows.values()] == [
        (pytest.approx(0.6), pytest.approx(0.4)),
        (pytest.approx(1.1), pytest.approx(0.9)),
        (pytest.approx(0.25), pytest.approx(0.5)),
    ]
    assert [(row.channel, row.text, row.gender, row.speaker) for row in rows.values()] == [
        (1, "ONE", "F", "s"),
        (1, "ONE", "F", "s"),
        (0, "", None, "s"),
    ]
    assert {row.audio for row in rows.values()} == {tmp_path / "data" / "wav" / "r.wav"}


def test_both_channels_of_a_recording_reach_the_manifests_at_their_own_rate(tmp_path: Path, recording: Recording) -> None:
    cuts = [MonoCut(f"c{n}", 0.5, 1.0, n, [supervision(f"s{n}", 0.0, 1.0)], recording=recording) for n in (0, 1)]
    rows = read_cut_set(cut_set(tmp_path, *cuts))
    samples = soundfile.read(rows[0].audio, dtype="float32")[0].T[:, RATE // 2 : RATE // 2 + RATE]
    for rate in (None, 16000):
        write_manifests(tmp_path / f"m{rate}", {"train": rows}, {}, options=AudioOptions(sampling_rate=rate))
        for channel, cut in enumerate(CutSet.from_file(tmp_path / f"m{rate}" / "cuts_train.jsonl.gz")):
            assert cut.sampling_rate == (rate or RATE)
            audio = cut.load_audio()[0][:: 2 if rate else 1]
            np.testing.assert_allclose(audio[500:-500], samples[channel][500:-500], atol=2e-3 if rate else 1e-7)
    assert not (tmp_path / "mNone" / "audio").exists()


def test_a_file_for_each_channel(tmp_path: Path) -> None:
    sources = []
    for channel in (0, 1):
        soundfile.write(tmp_path / f"{channel}.wav", np.full(RATE, 0.25 * (channel + 1)), RATE)
        sources.append(AudioSource("file", [channel], str(tmp_path / f"{channel}.wav")))
    whole = Recording("r", sources, RATE, RATE, 1.0)
    (tmp_path / "data").mkdir()
    cuts = [MonoCut(f"c{n}", 0.0, 1.0, n, [supervision(f"s{n}", 0.0, 1.0)], recording=whole) for n in (0, 1)]
    rows = read_cut_set(cut_set(tmp_path, *cuts))
    assert [(row.audio.name, row.channel, row.recording_id) for row in rows] == [("0.wav", 0, "r-0"), ("1.wav", 0, "r-1")]
    both = MultiCut("both", 0.0, 1.0, [0, 1], [supervision("s", 0.0, 1.0)], recording=whole)
    with pytest.raises(UserError, match=r"cut both .* has channels \[0, 1\], which lie in several files"):
        read_cut_set(cut_set(tmp_path, both))


def test_a_cut_of_several_channels_is_left_to_the_channel_option(tmp_path: Path, recording: Recording) -> None:
    both = MultiCut("both", 0.0, 1.0, [0, 1], [supervision("s", 0.0, 1.0)], recording=recording)
    rows = read_cut_set(cut_set(tmp_path, both))
    assert rows[0].channel is None
    with pytest.raises(UserError, match="2 channels, expected 1; choose one with --channel 0 to 1"):
        write_manifests(tmp_path / "manifests", {"train": rows}, {})


def test_speakers_may_be_recordings(tmp_path: Path, recording: Recording) -> None:
    cut = MonoCut("c", 0.0, 1.0, 0, [supervision("s", 0.0, 1.0, speaker=None)], recording=recording)
    path = cut_set(tmp_path, cut)
    with pytest.raises(UserError, match=r"1 of 1 supervisions name no speaker.*cut c .*--speaker-from recording"):
        read_cut_set(path)
    assert read_cut_set(path, speaker_from="recording")[0].speaker == "r"
    assert read_cut_set(path, speaker_from="utterance")[0].speaker == "c"


def test_resampling_is_undone_and_audio_is_looked_for_in_the_roots(tmp_path: Path, recording: Recording) -> None:
    cut = MonoCut("c", 0.0, 1.0, 0, [supervision("s", 0.0, 1.0)], recording=recording.resample(16000))
    path = cut_set(tmp_path, cut)
    assert read_cut_set(path)[0].audio == tmp_path / "data" / "wav" / "r.wav"
    (tmp_path / "elsewhere" / "wav").mkdir(parents=True)
    assert read_cut_set(path, [tmp_path / "elsewhere"])[0].audio == tmp_path / "data" / "wav" / "r.wav"
    (tmp_path / "data" / "wav" / "r.wav").rename(tmp_path / "elsewhere" / "wav" / "r.wav")
    assert read_cut_set(path, [tmp_path / "elsewhere"])[0].audio == tmp_path / "elsewhere" / "wav" / "r.wav"
    (tmp_path / "elsewhere" / "wav" / "r.wav").unlink()
    rows = read_cut_set(path, [tmp_path / "elsewhere"])
    with pytest.raises(UserError, match=r"c: .*elsewhere/wav/r\.wav: no such audio file"):
        write_manifests(tmp_path / "manifests", {"train": rows}, {})


def from_elsewhere(cut: MonoCut, kind: str) -> MonoCut:
    sources = [dataclasses.replace(source, type=kind) for source in cut.recording.sources]
    return dataclasses.replace(cut, recording=dataclasses.replace(cut.recording, sources=sources))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cut: cut.perturb_speed(0.9), "cut c_sp0.9 .* has the transform Speed, .*save_audios"),
        (lambda cut: cut.pad(2.0), "mixed, padded or appended cuts.*save_audios.*: MixedCut"),
        (lambda cut: dataclasses.replace(cut, supervisions=[]), "cuts without a supervision .*cut c"),
        (lambda cut: dataclasses.replace(cut, supervisions=[supervision("s", 0.5, 0.7)]), "reach outside their cut"),
        (lambda cut: dataclasses.replace(cut, recording=None), "cut c has no recording"),
        (lambda cut: from_elsewhere(cut, "command"), "its recording is a 'command' .*, expected a file"),
    ],
)
def test_what_is_not_in_files_as_it_is(tmp_path: Path, recording: Recording, change: Any, message: str) -> None:
    recording.sources[0].source = str(tmp_path / "data" / "wav" / "r.wav")
    cut = MonoCut("c", 0.0, 1.0, 0, [supervision("s", 0.0, 1.0)], recording=recording)
    with pytest.raises(UserError, match=message):
        read_cut_set(cut_set(tmp_path, change(cut)))
