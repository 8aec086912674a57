"""Features, labels, frame store and features computed while decoding have the same number of frames, whatever the audio."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet, SupervisionSegment
from lhotse.utils import fastcopy

from asr_distill.data import write_frame_store
from asr_distill.data.corpora import Utterance, write_manifests
from asr_distill.data.cut_features import load_features, senone_labels
from asr_distill.features import Fbank40, Fbank40Config, Normalisation, extract_features
from asr_distill.features.audio import pick_channel, read_samples, recording_of
from asr_distill.features.frame_counts import frames_of_samples, num_frames_of
from asr_distill.senones import FrameAlignment, SenoneInventory, default_topology, monophone_tree, write_labels
from asr_distill.student.scoring_pass import CutFeatures

TOPOLOGY = default_topology(["SIL", "A"], ["SIL"])
INVENTORY = SenoneInventory(TOPOLOGY, monophone_tree(TOPOLOGY))
RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000)


def labelled_everywhere(folder: Path, cut, config: Fbank40Config, speeds: tuple[float, ...], channel: int | None) -> list[int]:
    """Takes a cut through every path and returns the frames of each speed."""
    report = extract_features([cut], folder / "fbank", config, speeds=speeds, channel=channel)
    stored = list(report.cuts)
    alignments = {copy.id: FrameAlignment(np.array([1]), *np.zeros((2, num_frames_of(copy)), int)) for copy in stored}
    written = write_labels(stored, alignments, INVENTORY, folder / "labels.jsonl.gz", max_missing_share=0)
    assert written.num_frames == report.num_frames
    copies = list(CutSet.from_file(folder / "labels.jsonl.gz"))
    store = write_frame_store(
        folder / "store", copies, "none", feature_config=config, senones_hash=INVENTORY.hash, num_senones=INVENTORY.num_senones
    )
    live = CutFeatures(Fbank40(config), Normalisation("none"))
    counts = []
    for factor, copy in zip(speeds, copies, strict=True):
        features, at_decode_time = load_features(copy), live.read(fastcopy(copy, features=None))
        assert len(features) == len(at_decode_time) == num_frames_of(copy)
        if factor == 1:  # else lhotse's times of the original may be a sample off
            np.testing.assert_allclose(features[:-3], at_decode_time[:-3], atol=2e-2)
        assert frames_of_samples(cut.num_samples, cut.sampling_rate, config, factor) == len(features)
        assert len(senone_labels(copy, "senones", len(features), None, INVENTORY.hash)) == len(features)
        assert [len(part) for part in store.utterance(copy.id)] == [len(features)] * 2
        counts.append(len(features))
    return counts


def cut_of(folder: Path, num_samples: int, rate: int, channels: int, start: int, seed: int = 0):
    """A cut of ``num_samples`` that begins at sample ``start`` of a recording, with its supervision."""
    noise = np.random.default_rng(seed).normal(0, 0.05, (start + num_samples + start // 2, channels)).clip(-1, 1)
    soundfile.write(folder / "a.wav", noise, rate, subtype="PCM_16")
    cut = recording_of(folder / "a.wav").to_cut()
    if start:
        cut = cut.truncate(offset=start / rate, duration=num_samples / rate)
    cut = fastcopy(cut, id="a")
    cut.supervisions = [SupervisionSegment("a", "a", 0, num_samples / rate, text="A", speaker="s")]
    return cut


@settings(max_examples=60)
@given(
    rate=st.sampled_from(RATES),
    milliseconds=st.integers(30, 1500) | st.sampled_from([25, 30_000]),
    extra=st.integers(0, 479),
    start=st.sampled_from([0, 0, 1, 777, 4801]),
    channels=st.sampled_from([1, 2]),
    target=st.sampled_from([16000, 8000]),
    snip=st.booleans(),
    speed=st.sampled_from([0.85, 0.9, 0.95, 1.05, 1.1, 1.15]),
)
def test_every_path_has_as_many_frames(rate, milliseconds, extra, start, channels, target, snip, speed) -> None:
    num_samples = rate * milliseconds // 1000 + extra + rate // 50  # snipped edges need a frame even at the fastest
    with tempfile.TemporaryDirectory() as name:
        cut = cut_of(Path(name), num_samples, rate, channels, start)
        config = Fbank40Config(sampling_rate=target, snip_edges=snip)
        labelled_everywhere(Path(name), cut, config, (1.0, speed), channels - 1)


@pytest.mark.parametrize("num_samples", [157199, *range(100 * 480 + 236, 100 * 480 + 244)])
def test_the_rounding_of_48_khz(tmp_path: Path, num_samples: int) -> None:
    """157,199 samples last 327.498 frames of 10 ms; brought to 16 kHz they are 52,400, which have 328."""
    cut = cut_of(tmp_path, num_samples, 48000, 2, 0)
    (frames,) = labelled_everywhere(tmp_path, cut, Fbank40Config(), (1.0,), 0)
    assert frames == (round(num_samples / 3) + 80) // 160


@pytest.mark.parametrize("name", ["piped.wav", "piped.flac", "joined.ogg", "joined.opus", "joined.mp3", "gsm.wav", "float.wav"])
def test_what_is_prepared_is_read_alike_later(tmp_path: Path, name: str) -> None:
    """Preparation, features and features computed while decoding agree on files whose headers say little."""
    noise = np.random.default_rng(0).normal(0, 0.05, (20011, 1)).clip(-1, 1).astype(np.float32)
    path = tmp_path / "audio" / name
    path.parent.mkdir()
    kind, coding = {
        "piped.wav": ("WAV", "PCM_16"), "piped.flac": ("FLAC", "PCM_16"), "joined.ogg": ("OGG", "VORBIS"),
        "joined.opus": ("OGG", "OPUS"), "joined.mp3": ("MP3", "MPEG_LAYER_III"), "gsm.wav": ("WAV", "GSM610"),
        "float.wav": ("WAV", "FLOAT"),
    }[name]  # fmt: skip
    soundfile.write(path, noise, 16000, format=kind, subtype=coding)
    whole, content = 20011, path.read_bytes()
    if name == "piped.wav":
        content = content[:40] + b"\xff" * 4 + content[44:]
    elif name == "piped.flac":
        content = content[:21] + bytes([content[21] & 0xF0]) + bytes(4 + 16) + content[42:]
    elif name.startswith("joined"):
        whole, content = 2 * 20011, 2 * content
    path.write_bytes(content)
    rows = {part: [Utterance(part, path, f"speaker-{part}", "A")] for part in ("train", "dev", "test")}
    write_manifests(tmp_path / "manifests", rows, {})
    (cut,) = CutSet.from_file(tmp_path / "manifests" / "cuts_train.jsonl.gz")
    assert cut.num_samples == whole
    labelled_everywhere(tmp_path, cut, Fbank40Config(), (1.0, 0.9), None)


@settings(max_examples=40)
@given(st.data())
def test_a_window_of_stored_features_has_its_labels(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rate = data.draw(st.sampled_from(RATES))
        cut = cut_of(folder, data.draw(st.integers(rate // 2, rate)), rate, 1, 0)
        labelled_everywhere(folder, cut, Fbank40Config(), (1.0,), None)
        (whole,) = CutSet.from_file(folder / "labels.jsonl.gz")
        offset = data.draw(st.integers(0, 200)) / 1000
        part = whole.truncate(offset=offset, duration=data.draw(st.integers(100, 290)) / 1000)
        features = load_features(part)
        assert len(features) == num_frames_of(part)
        assert len(senone_labels(part, "senones", len(features), None, INVENTORY.hash)) == len(features)


@settings(max_examples=40)
@given(rate=st.sampled_from([*RATES, 9999, 12345]), target=st.sampled_from([8000, 16000]), num_samples=st.integers(400, 9000))
def test_samples_are_as_many_as_the_rule_says(rate: int, target: int, num_samples: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        cut = pick_channel(cut_of(Path(name), num_samples, rate, 1, 0), None)
        assert len(read_samples(cut, target)) == int(num_samples * target / rate + 0.5)
