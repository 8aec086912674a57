"""The one reader of audio: every container to its end, parts exactly, and nothing silently short."""

from __future__ import annotations

import io
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_bytes import KINDS, RATE, chunk, encoded, speech_like, wav, without_total
from lhotse import Recording

from asr_distill.base import UserError
from asr_distill.features.audio import read_samples, recording_of
from asr_distill.features.audio_files import AudioInfo, audio_info, open_audio, read_audio
from asr_distill.features.containers.decoded import DecodedSamples
from asr_distill.features.containers.mpeg import mpeg_header

SAMPLES = speech_like()


def as_written(content: bytes, length: int | None = None) -> np.ndarray:
    """``(channels, n)`` as libsndfile decodes it."""
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].T[:, :length]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audio.wav"  # whatever is in it


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "coding"), KINDS)
def test_every_container_is_read_by_content_to_its_end(file: Path, kind: str, coding: str, channels: int) -> None:
    if (coding, channels) == ("GSM610", 2):
        pytest.skip("GSM has one channel")
    content = encoded(speech_like(20012, channels=channels), kind, coding)
    file.write_bytes(content)
    samples, rate = read_audio(file)
    assert (samples.dtype, rate) == (np.float32, RATE)
    expected = as_written(content, samples.shape[1])
    if coding != "MPEG_LAYER_III":
        np.testing.assert_array_equal(samples, expected)
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    num_samples = 20340 if coding == "IMA_ADPCM" else 20012  # libsndfile counts what fills its last block
    assert audio_info(file) == AudioInfo(RATE, channels, num_samples)
    audio = open_audio(file)
    for start, count in ((0, 1), (1, 999), (7000, 4097), (num_samples - 3, 3), (0, num_samples)):
        np.testing.assert_allclose(audio.read(start, count), samples[:, start : start + count], atol=1e-6)
    with pytest.raises(UserError, match=f"it has {num_samples}"):
        audio.read(num_samples - 11, 12)


@pytest.mark.parametrize(("kind", "coding"), KINDS)
def test_what_is_cut_short_is_refused(file: Path, kind: str, coding: str) -> None:
    content = encoded(SAMPLES, kind, coding)
    for left in (len(content) - 4, len(content) - 1000, len(content) // 2, len(content) // 3, 60, 30, 10, 3):
        file.write_bytes(content[:left])
        with pytest.raises(UserError) as caught:
            read_audio(file)
        assert str(file) in str(caught.value)


SIZES = [0, 0x7FFFF000, 0x7FFFEFFE, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0xFFFFFFFE]


@pytest.mark.parametrize("size", SIZES)
def test_piped_headers_are_read_to_the_end(file: Path, size: int) -> None:
    file.write_bytes(wav(SAMPLES, data_size=size))
    np.testing.assert_array_equal(read_audio(file)[0], as_written(wav(SAMPLES)))
    assert recording_of(file).num_samples == len(SAMPLES)
    file.write_bytes(wav(SAMPLES, data_size=size)[:-1])
    with pytest.raises(UserError, match="ends within a sample"):
        read_audio(file)


def test_other_piped_containers(file: Path) -> None:
    flac = encoded(SAMPLES, "FLAC", "PCM_16")
    for content in (without_total(flac), without_total(flac, digest=True)):
        file.write_bytes(content)
        np.testing.assert_array_equal(read_audio(file)[0], as_written(flac))
        np.testing.assert_array_equal(open_audio(file).read(5000, 100), as_written(flac)[:, 5000:5100])
        file.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="truncated"):
            read_audio(file)
    au = encoded(SAMPLES, "AU", "PCM_16")
    file.write_bytes(au[:8] + b"\xff\xff\xff\xff" + au[12:])
    np.testing.assert_array_equal(read_audio(file)[0], as_written(au))
    rf64 = encoded(SAMPLES, "RF64", "PCM_16")
    at = rf64.index(b"ds64") + 8
    file.write_bytes(rf64[: at + 8] + bytes(8) + rf64[at + 16 :])
    np.testing.assert_array_equal(read_audio(file)[0], as_written(rf64))


def test_chunks_before_and_behind_the_samples(file: Path) -> None:
    plain = wav(SAMPLES)
    expected, fmt, data = as_written(plain), plain[12:36], plain[36:]
    odd = chunk(b"LIST", b"INFOISFT\5\0\0\0Lavf1"), chunk(b"bext", b"x" * 603), chunk(b"id3 ", b"ID3" + b"y" * 40)
    for content in (
        odd[0] + fmt + data,
        fmt + odd[0] + odd[1] + data,
        fmt + data + odd[2],
        fmt + data + odd[0] + odd[2][:-1],
        fmt + data + b"TAG" + bytes(125),
        chunk(b"JUNK", bytes(28)) + fmt + data,
    ):
        file.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WAVE" + content)
        np.testing.assert_array_equal(read_audio(file)[0], expected)
    eight = encoded(SAMPLES, "WAV", "PCM_U8")  # an odd number of bytes, with and without the byte that fills it up
    for content in (eight, eight.removesuffix(b"\0"), eight + odd[0]):
        file.write_bytes(content)
        np.testing.assert_array_equal(read_audio(file)[0], as_written(eight))


def test_a_header_that_counts_too_few_is_refused(file: Path) -> None:
    file.write_bytes(wav(SAMPLES, data_size=8000))
    with pytest.raises(UserError, match="follow the samples that the header counts"):
        read_audio(file)
    sphere = encoded(SAMPLES, "NIST", "PCM_16")
    file.write_bytes(sphere.replace(b"sample_count -i 20011", b"sample_count -i 10011"))
    with pytest.raises(UserError, match="follow the samples that the header counts"):
        read_audio(file)


def test_an_empty_recording_is_no_piped_one(file: Path) -> None:
    for content in (wav(SAMPLES[:0]), wav(SAMPLES[:0]) + chunk(b"LIST", b"INFO")):
        file.write_bytes(content)
        with pytest.raises(UserError, match="empty"):
            read_audio(file)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("coding", ["VORBIS", "OPUS", "MPEG_LAYER_III"])
def test_joined_streams_are_all_read(file: Path, coding: str, rate: int) -> None:
    if (coding, rate) == ("OPUS", 44100):
        rate = 48000
    kind = "MP3" if coding == "MPEG_LAYER_III" else "OGG"
    pieces = [encoded(speech_like(length, seed=length), kind, coding, rate) for length in (20011, 9001, 13007)]
    file.write_bytes(b"".join(pieces))
    expected = np.concatenate([as_written(piece) for piece in pieces], axis=1)
    np.testing.assert_allclose(read_audio(file)[0], expected, atol=1e-6)
    assert audio_info(file).num_samples == 20011 + 9001 + 13007
    for left in (len(pieces[0]) + 100, len(pieces[0]) + len(pieces[1]) // 2, sum(map(len, pieces)) - 10):
        file.write_bytes(b"".join(pieces)[:left])
        with pytest.raises(UserError):
            read_audio(file)


@pytest.mark.parametrize(("kind", "coding"), [kind for kind in KINDS if kind[0] in ("WAV", "FLAC", "OGG", "MP3")])
def test_manifests_that_lhotse_made_are_read(tmp_path: Path, kind: str, coding: str) -> None:
    path = tmp_path / f"audio.{'opus' if coding == 'OPUS' else kind.lower()}"
    path.write_bytes(encoded(SAMPLES, kind, coding))
    cut = Recording.from_file(path).to_cut()  # may count what fills the last block
    found = read_samples(cut, RATE)
    assert len(found) == int(cut.num_samples * RATE / cut.sampling_rate + 0.5) >= len(SAMPLES)
    np.testing.assert_allclose(found[: len(SAMPLES)], read_audio(path)[0][0, : len(SAMPLES)], atol=1e-6)


def test_a_manifest_of_half_a_joined_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audio.ogg"
    path.write_bytes(2 * encoded(SAMPLES, "OGG", "VORBIS"))
    with pytest.raises(UserError, match=r"the file has 2\.501 s, the manifest says 1\.251 s.*recording_of"):
        read_samples(Recording.from_file(path).to_cut(), RATE)
    assert len(read_samples(recording_of(path).to_cut(), RATE)) == 2 * len(SAMPLES)


def test_a_few_bytes_of_anything_are_no_audio(file: Path) -> None:
    starts = [
        b"ID3\4\0\0\0\0\0\x40xxxxxxxxxx",
        b"OggS",
        b"fLaC",
        b"NIST_1A\n   1024\n",
        b".snd",
        b"FORM\0\0\0\0AIFF",
        b"\xff\xfb\x90\x00",
    ]
    for start in [*starts, wav(SAMPLES)[:60], encoded(SAMPLES, "W64", "PCM_16")[:120]]:
        for length in range(1, len(start) + 1):
            file.write_bytes(start[:length])
            with pytest.raises(UserError):
                read_audio(file)


def test_joined_flac_is_refused(file: Path) -> None:
    file.write_bytes(2 * encoded(SAMPLES, "FLAC", "PCM_16"))
    with pytest.raises(UserError, match="truncated or damaged"):
        read_audio(file)


def test_mp3_with_tags_and_with_headers_that_lie(file: Path) -> None:
    mp3 = encoded(SAMPLES, "MP3", "MPEG_LAYER_III")
    expected = as_written(mp3)
    id3 = b"ID3\4\0\0" + bytes([0, 0, 1, 0]) + b"x" * 128
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 42, 1, 1 << 31 | 1 << 29) + bytes(8) + b"z" * 10
    ape += b"APETAGEX" + struct.pack("<IIII", 2000, 42, 1, 1 << 31) + bytes(8)
    for content in (id3 + mp3, id3 + mp3 + b"TAG" + b"y" * 125, mp3 + bytes(500), mp3 + ape):
        file.write_bytes(content)
        np.testing.assert_allclose(read_audio(file)[0], expected, atol=1e-6)
    at = mp3.index(b"Xing") + 8
    frames = int.from_bytes(mp3[at : at + 4], "big")
    file.write_bytes(mp3[:at] + struct.pack(">I", frames - 10) + mp3[at + 4 :])
    assert abs(audio_info(file).num_samples - frames * 576) < 576  # what the lying header would have taken away is there
    file.write_bytes(mp3[mpeg_header(mp3[:4]).length :])  # without a header libsndfile reads the half
    assert abs(audio_info(file).num_samples - frames * 576) < 576
    file.write_bytes(mp3[:at] + struct.pack(">I", frames + 10) + mp3[at + 4 :])
    with pytest.raises(UserError, match=f"truncated: {frames} MP3 frames, its header promises {frames + 10}"):
        read_audio(file)
    file.write_bytes(id3 + mp3 + id3 + mp3)
    assert audio_info(file).num_samples == 2 * len(SAMPLES)
    file.write_bytes(mp3[:1000] + b"what is this?" + mp3[1000:])
    with pytest.raises(UserError, match="neither an MP3 frame nor a tag"):
        read_audio(file)


def test_flac_with_tags_of_mp3(file: Path) -> None:
    flac = encoded(SAMPLES, "FLAC", "PCM_16")
    id3 = b"ID3\4\0\0" + bytes([0, 0, 1, 0]) + b"x" * 128
    for content in (id3 + flac, flac + b"TAG" + bytes(125), id3 + flac + b"TAG" + bytes(125)):
        file.write_bytes(content)
        np.testing.assert_array_equal(read_audio(file)[0], as_written(flac))
        np.testing.assert_array_equal(open_audio(file).read(5000, 100), as_written(flac)[:, 5000:5100])
        file.write_bytes(content[:9000])
        with pytest.raises(UserError, match="truncated"):
            read_audio(file)


def test_a_damaged_ogg_or_flac_is_refused(file: Path) -> None:
    for kind, coding in (("OGG", "VORBIS"), ("OGG", "OPUS"), ("FLAC", "PCM_16")):
        content = bytearray(encoded(SAMPLES, kind, coding))
        content[len(content) // 2] ^= 16
        file.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            read_audio(file)
    ogg = encoded(np.tile(SAMPLES, (20, 1)), "OGG", "VORBIS")
    pages = [position for position in range(len(ogg)) if ogg[position : position + 4] == b"OggS"]
    file.write_bytes(ogg[: pages[3]] + ogg[pages[4] :])
    with pytest.raises(UserError, match="pages 3 to 3 of its stream are missing"):
        read_audio(file)


@pytest.mark.parametrize(
    ("value", "says"), [(1e30, "reach 1e"), (17.0, "reach 17"), (np.nan, "sample 100 is NaN"), (np.inf, "infinite")]
)
@pytest.mark.parametrize("coding", ["FLOAT", "DOUBLE"])
def test_values_that_no_recording_has(file: Path, value: float, says: str, coding: str) -> None:
    samples = SAMPLES.copy()
    samples[100] = value
    file.write_bytes(encoded(samples, "WAV", coding))
    for read in (read_audio, audio_info):
        with pytest.raises(UserError, match=says):
            read(file)
    cut = Recording.from_file(file, recording_id="audio").to_cut()
    with pytest.raises(UserError, match=rf"cut audio.*{says}"):
        read_samples(cut, RATE)


@pytest.mark.parametrize("rate", [0, 1, 4_000_000_000])
def test_rates_that_no_recording_has(file: Path, rate: int) -> None:
    content = wav(SAMPLES)
    file.write_bytes(content[:24] + struct.pack("<I", rate) + content[28:])
    with pytest.raises(UserError, match=f"{rate} Hz"):
        read_audio(file)


def test_a_window_of_a_long_recording_reads_no_more_than_that(file: Path) -> None:
    with open(file, "wb") as stream:
        stream.write(wav(SAMPLES, data_size=2_000_000_000))
        stream.truncate(2_000_000_044)  # seventeen hours, most of them a hole in the file
    audio = open_audio(file)
    tracemalloc.start()
    np.testing.assert_array_equal(audio.read(5000, 100), as_written(wav(SAMPLES))[:, 5000:5100])
    assert not audio.read(999_999_000, 1000).any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_cuts_of_one_recording_decode_it_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(encoded(SAMPLES, "OGG", "VORBIS"))
    decoded = []
    plain = DecodedSamples.read_all
    monkeypatch.setattr(DecodedSamples, "read_all", lambda self: decoded.append(self.path) or plain(self))
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda start: open_audio(file).read(start, 1000), range(0, 20000, 1000)))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), as_written(file.read_bytes())[:, :20000])
    assert decoded == [file]
    file.write_bytes(encoded(SAMPLES[:5000], "OGG", "VORBIS"))  # another file under the same name
    assert audio_info(file).num_samples == 5000


def test_nothing_runs_whatever_a_file_is_called(tmp_path: Path) -> None:
    path = tmp_path / "a;touch evil;.sph"
    path.write_bytes(encoded(SAMPLES, "NIST", "PCM_16"))
    assert read_samples(recording_of(path).to_cut(), RATE).shape == (len(SAMPLES),)
    assert list(tmp_path.iterdir()) == [path]


def test_real_cases(audio_cases: Path) -> None:
    whole = {"sox_pipe.wav", "gst.wav", "ffmpeg_pipe.wav", "int32max.wav", "zero.wav", "piped.flac", "gsm.wav"}
    for name in sorted(whole):
        assert audio_info(audio_cases / name).num_samples == 65600
        assert read_samples(recording_of(audio_cases / name).to_cut(), RATE).any()
    for name in ("chained.ogg", "chained.opus"):
        assert audio_info(audio_cases / name).num_samples == 2 * 65600
    for name in ("cut.opus", "cut.flac"):
        with pytest.raises(UserError, match="truncated"):
            read_audio(audio_cases / name)
