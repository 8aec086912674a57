"""Files of every container with bytes changed, cut off, doubled: samples or a `UserError`, and never fewer samples unsaid."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from audio_bytes import KINDS, encoded, speech_like, wav, without_total

from asr_distill.base import UserError
from asr_distill.features.audio import read_samples, recording_of
from asr_distill.features.audio_files import audio_info, read_audio

LENGTH = 4001
EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def changed(content: bytes, way: str, chance: random.Random) -> bytes:
    data = bytearray(content)
    at = chance.randrange(len(data))
    end = min(len(data), at + chance.randrange(1, 400))
    if way == "cut":
        return content[:at]
    if way == "flip":
        for _ in range(chance.choice([1, 1, 3, 20])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif way == "header":
        for _ in range(chance.choice([1, 2, 5])):
            data[chance.randrange(min(80, len(data)))] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
    elif way == "number":
        at = chance.randrange(min(100, len(data) - 4))
        number = chance.choice([*EXTREMES, chance.getrandbits(32)])
        data[at : at + 4] = number.to_bytes(4, chance.choice(["little", "big"]))
    elif way == "insert":
        data[at:at] = chance.randbytes(end - at)
    elif way == "delete":
        del data[at:end]
    elif way == "zero":
        data[at:end] = bytes(end - at)
    else:
        data[at:at] = data[at:end]
    return bytes(data)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(4))
def test_two_thousand_damaged_files(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    samples = speech_like(LENGTH)
    seeds = [(f"{kind} {coding}", encoded(samples, kind, coding), False) for kind, coding in KINDS]
    joined = [encoded(samples, *kind) * 2 for kind in (("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"))]
    seeds += [("joined", content, False) for content in joined]
    id3 = b"ID3\4\0\0\0\0\0\x40" + b"x" * 64
    tagged = (encoded(samples, *kind) for kind in (("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16")))
    seeds += [("tagged", id3 + content, False) for content in tagged]
    seeds += [("piped", wav(samples, data_size=0xFFFFFFFF), True)]  # where a pipe ended nobody can tell
    seeds += [("piped", without_total(encoded(samples, "FLAC", "PCM_16")), True)]
    path = tmp_path / "audio.bin"
    for _ in range(500):
        name, content, piped = chance.choice(seeds)
        way = chance.choice(["cut", "flip", "header", "number", "insert", "delete", "zero", "double"])
        path.write_bytes(changed(content, way, chance))
        began, said = time.monotonic(), str(path)
        try:
            found, _ = read_audio(path)
            info = audio_info(path)
            assert found.shape == (info.channels, info.num_samples), (name, way)
            assert np.isfinite(found).all()
            if way == "cut":
                assert piped or found.shape[1] >= LENGTH, (name, "silently short")
            if info.channels == 1:
                read_samples(recording_of(path).to_cut(), 16000)
        except UserError as error:
            said = str(error)
        assert str(path) in said, (name, way)
        assert time.monotonic() - began < 30, (name, way, "takes too long")
