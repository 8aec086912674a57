"""The custom recipe on made-up speech at 48 kHz, of two channels and one speaker, and a ten-minute recording with its model."""

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
from asr_distill.features.resampling import resample

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = "--channel 0 --allow-shared-speakers yes --cmudict yes --phone-loop no --wide no --threads 1 --stop-stage 12"
OPTIONS += " --speed-perturb 1.0 --num-leaves 120 --config recipes/conf/tiny.yaml --first-config recipes/conf/tiny.yaml"
# a command, and the most memory that it took, in kilobytes
MEASURED = "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:]).returncode;"
MEASURED += " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(r)"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaldi directories: utterances of odd numbers of samples at 48 kHz, noise on the second channel, one speaker in all."""
    folder = tmp_path_factory.mktemp("corpus")
    command = [sys.executable, str(ROOT / "local" / "prepare_demo.py"), "--size", "tiny", "--output", str(folder / "manifests")]
    subprocess.run(command, check=True, capture_output=True)
    for split, count in (("train", 90), ("dev", 12), ("test", 12)):
        data = folder / "data" / split
        (data / "wav").mkdir(parents=True)
        lines: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
        for number, cut in enumerate(sorted(CutSet.from_file(folder / "manifests" / f"cuts_{split}.jsonl.gz"), key=str)):
            if number == count:
                break
            samples = resample(cut.load_audio()[0], 16000, 48000)
            samples = samples[: len(samples) // 480 * 480 - 241 + number % 3]  # 238 to 240 of a frame's 480
            other = np.random.default_rng(number).normal(0, 0.05, len(samples))
            path = data / "wav" / f"{number}.wav"
            soundfile.write(path, np.stack([samples, other], 1), 48000, subtype="PCM_16")
            for name, value in (("wav.scp", path), ("text", cut.supervisions[0].text), ("utt2spk", "one")):
                lines[name].append(f"{split}-{number:03d} {value}\n")
        for name, rows in lines.items():
            (data / name).write_text("".join(rows))
    return folder


@pytest.mark.slow
def test_from_odd_recordings_to_ten_minutes(corpus: Path) -> None:
    run = corpus / "run"
    parts = [word for part in ("train", "dev", "test") for word in (f"--{part}", str(corpus / "data" / part))]
    done = subprocess.run(
        ["bash", str(ROOT / "recipes" / "custom" / "run.sh"), *parts, *OPTIONS.split()],
        env={**os.environ, "EXP_DIR": str(run)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    decoded = read_json(run / "decode" / "baseline_ngram" / "seed0" / "test" / "decode.json")
    assert (decoded["utterances"], decoded["left_out"], decoded["frame_accuracy"] is not None) == (12, {}, True)
    assert read_json(run / "manifests" / "corpus.json")["shared_speakers"]

    one = [soundfile.read(path, dtype="float32")[0][:, 0] for path in sorted((corpus / "data" / "test" / "wav").glob("*.wav"))]
    pause = np.random.default_rng(0).normal(0, 1e-4, 24000).astype(np.float32)
    parts_of_it, seconds = [], 0.0
    while seconds < 600:
        parts_of_it += [one[len(parts_of_it) // 2 % len(one)], pause]
        seconds += (len(parts_of_it[-2]) + len(pause)) / 48000
    soundfile.write(corpus / "long.wav", np.concatenate(parts_of_it), 48000, subtype="PCM_16")
    graph = next((run / "graph" / "senones").glob("ngram*"))
    command = [sys.executable, "-m", "asr_distill", "decode", "--audio", str(corpus / "long.wav"), "--graph", str(graph)]
    command += ["--model", str(run / "models" / "baseline" / "seed0"), "--output", str(corpus / "long"), "--quiet"]
    measured = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=False)
    assert measured.returncode == 0, measured.stderr
    megabytes = int(measured.stdout.split()[-1]) / 1024
    assert megabytes < 2500, f"{megabytes:.0f} MB for ten minutes"
    (row,) = read_jsonl(corpus / "long" / "hypotheses.jsonl")
    assert read_json(corpus / "long" / "decode.json")["in_pieces"] == ["long"]
    assert len(row["hypothesis"].split()) > 100
    times = [float(line.split()[2]) for line in (corpus / "long" / "hyp.ctm").read_text().splitlines()]
    assert times == sorted(times)
    assert times[-1] > 540
