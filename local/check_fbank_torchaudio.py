#!/usr/bin/env python3
"""Compares our filterbanks with torchaudio.compliance.kaldi.fbank, each computed by a Python of its own.

    .venv/bin/python local/check_fbank_torchaudio.py write FOLDER a.wav b.wav      our features, with asr_distill
    /usr/bin/python3 local/check_fbank_torchaudio.py compare FOLDER                theirs, with torch and torchaudio only

`compare` ends with status 1 where a value differs by more than --tolerance (nats), and with 77 where there is no torchaudio
(Debian 12: apt-get install python3-torchaudio).
"""

import argparse
import json
import sys
import wave
from pathlib import Path

import numpy as np

SNIPPED = "snipped"


def read_wav(path):
    """Samples (n,) float32 in +-1 and the rate of a mono 16-bit wav."""
    with wave.open(str(path), "rb") as stream:
        if stream.getnchannels() != 1 or stream.getsampwidth() != 2:
            sys.exit(f"{path}: expected one channel of 16 bits")
        data = stream.readframes(stream.getnframes())
        return np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768, stream.getframerate()


def write(folder, paths):
    """FOLDER/NUMBER.npy and snippedNUMBER.npy for each wav, and what they were made with in FOLDER/made.json."""
    from asr_distill.base import write_json
    from asr_distill.features import Fbank40, Fbank40Config

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, path in enumerate(paths):
        samples, rate = read_wav(path)
        for prefix, snip_edges in (("", False), (SNIPPED, True)):
            config = Fbank40Config(sampling_rate=rate, snip_edges=snip_edges)
            name = f"{prefix}{number}.npy"
            np.save(folder / name, Fbank40(config).extract(samples, rate))
            made.append({"wav": str(Path(path).resolve()), "features": name, "config": config.to_dict()})
    write_json(folder / "made.json", made)
    print(f"{len(made)} feature files in {folder}")


def compare(folder, tolerance):
    """The largest absolute difference over all files; exits with status 1 where it is above the tolerance."""
    try:
        import torch
        from torchaudio.compliance.kaldi import fbank
    except ImportError as error:
        print(f"skipped: {sys.executable} has no torchaudio ({error})")
        sys.exit(77)
    made = json.loads((folder / "made.json").read_text())
    if not made:
        sys.exit(f"{folder / 'made.json'} names no features: run `write` with some wav files first")
    worst = 0.0
    for entry in made:
        samples, rate = read_wav(entry["wav"])
        config = entry["config"]
        theirs = fbank(
            torch.from_numpy(samples.copy())[None],
            sample_frequency=rate,
            num_mel_bins=config["num_mel_bins"],
            frame_length=config["frame_length"] * 1000,
            frame_shift=config["frame_shift"] * 1000,
            low_freq=config["low_freq"],
            high_freq=config["high_freq"],
            preemphasis_coefficient=config["preemphasis_coefficient"],
            remove_dc_offset=config["remove_dc_offset"],
            round_to_power_of_two=config["round_to_power_of_two"],
            window_type=config["window_type"],
            snip_edges=config["snip_edges"],
            dither=0.0,
        ).numpy()
        ours = np.load(folder / entry["features"], allow_pickle=False)
        if ours.shape != theirs.shape:
            sys.exit(f"{entry['wav']} (snip_edges {config['snip_edges']}): ours {ours.shape}, torchaudio {theirs.shape}")
        worst = max(worst, float(np.abs(ours - theirs).max()))
    print(f"{len(made)} files, largest difference {worst:.2e} nats (tolerance {tolerance:g})")
    sys.exit(0 if worst <= tolerance else 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("wavs", nargs="*")
    parser.add_argument("--tolerance", type=float, default=2e-3, help="nats (default: %(default)s)")
    args = parser.parse_args()
    if args.what == "write":
        if not args.wavs:
            parser.error("write needs wav files")
        write(args.folder, args.wavs)
    else:
        compare(args.folder, args.tolerance)


if __name__ == "__main__":
    main()
