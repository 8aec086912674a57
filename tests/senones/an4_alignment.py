"""The reference alignment of AN4 as frame alignments over features computed on the spot."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from asr_distill.senones import FrameAlignment, Topology, default_topology

STATE = re.compile(r"^_?(?P<phone>[a-z]+?)_?(\[(?P<a>[234])\]|_s(?P<b>[234])_\d+)$")


def reference_utterances(
    an4_dir: Path, mlf: Path, num_speakers: int
) -> tuple[Topology, dict[str, FrameAlignment], dict[str, np.ndarray]]:
    """Utterances of the first speakers by name: topology, alignments and 40 log-Mel features.

    The reference's frame u is centred at 10 u + 12.5 ms, ours at 10 t + 5 ms: the nearest is t = u + 1.
    """
    import kaldi_native_fbank as knf
    import soundfile

    utterances: dict[str, list[tuple[int, str, int, bool]]] = {}
    for line in mlf.read_text().splitlines():
        if line.startswith('"'):
            current = utterances.setdefault(Path(line.strip('"')).stem, [])
        elif line[:1].isdigit():
            fields = line.split()
            match = STATE.match(fields[2])
            assert match is not None, line
            frames = (int(fields[1]) - int(fields[0])) // 100_000
            phone = {"sil": "SIL"}.get(match["phone"], match["phone"].upper())
            current.append((frames, phone, int(match["a"] or match["b"]) - 2, len(fields) > 4))
    phones = ["SIL", *sorted({phone for rows in utterances.values() for _, phone, *_ in rows} - {"SIL"})]
    topology = default_topology(phones, ["SIL"])
    speakers = sorted({key.split("-")[1] for key in utterances})[:num_speakers]
    wavs = {path.stem: path for path in (an4_dir / "wav" / "an4_clstk").rglob("*.wav")}

    alignments, features = {}, {}
    for key, rows in utterances.items():
        if key.split("-")[1] not in speakers or key not in wavs:
            continue
        samples, _ = soundfile.read(wavs[key], dtype="float32")
        options = knf.FbankOptions()
        options.frame_opts.dither, options.frame_opts.snip_edges, options.mel_opts.num_bins = 0, False, 40
        extractor = knf.OnlineFbank(options)
        extractor.accept_waveform(16000, samples.tolist())
        extractor.input_finished()
        features[key] = np.stack([extractor.get_frame(t) for t in range(extractor.num_frames_ready)])
        lengths = [frames for frames, *_ in rows]
        starts = np.cumsum([first for *_, first in rows]) - 1
        index, states = np.repeat(starts, lengths), np.repeat([state for _, _, state, _ in rows], lengths)
        after = max(len(features[key]) - len(index) - 1, 0)
        index, states = (np.pad(part, (1, after), mode="edge")[: len(features[key])] for part in (index, states))
        ids = [phones.index(phone) + 1 for _, phone, _, first in rows if first]
        alignments[key] = FrameAlignment(np.array(ids), index, states)
    return topology, alignments, features
