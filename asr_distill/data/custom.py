"""A corpus of the user's own: Kaldi data directories or lhotse CutSets, with or without dev, to a manifests folder."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import UserError
from asr_distill.data.corpora import AudioOptions, SpeakerSource, Utterance, write_manifests
from asr_distill.data.cut_manifests import read_cut_set
from asr_distill.data.kaldi_directory import read_kaldi_directory
from asr_distill.data.speaker_parts import check_recordings, set_aside_dev
from asr_distill.data.transcript_text import TextOptions
from asr_distill.data.transcript_words import PreparedWords, WordOptions, pronounce_words, spell_words

_log = logging.getLogger("asr_distill")
_USUAL_RATE = 16000


def prepare_custom(
    paths: Mapping[str, Path],
    output: Path,
    *,
    name: str,
    words: WordOptions | None,
    audio_roots: Sequence[Path] = (),
    dev_speakers: int | None = None,
    speaker_from: SpeakerSource = "supervision",
    allow_shared_speakers: bool = False,
    options: AudioOptions | None = None,
    text: TextOptions | None = None,
) -> dict[str, Any]:
    """Writes manifests, and the lexicon where there is one; returns corpus.json's content.

    ``paths``: train, test and perhaps dev to a data directory or a CutSet's file; or test alone. ``words``: None for subwords,
    which need no lexicon. ``allow_shared_speakers``: a speaker may be in several parts; corpus.json lists who is.
    ``dev_speakers``: how many are set aside where there is no dev (None: a tenth). Raises `UserError` for whatever readers,
    `pronounce_words`, `set_aside_dev` and `write_manifests` refuse. ``text``: how transcripts are changed first.
    """
    parts = {part: _read(part, paths[part], audio_roots, speaker_from) for part in ("train", "dev", "test") if part in paths}
    split: dict[str, Any] = {"rule": "as given"}
    if "dev" not in parts and "train" in parts:
        train, dev, split = set_aside_dev(parts["train"], dev_speakers, allow_shared_speakers=allow_shared_speakers)
        parts = {"train": train, "dev": dev, "test": parts["test"]}
        _log.info("dev: %d speakers of train: %s", len(split["dev_speakers"]), ", ".join(split["dev_speakers"][:20]))
    elif dev_speakers is not None:
        raise UserError(
            f"--dev-speakers {dev_speakers} is for a corpus without dev, and {paths['dev']} is given; leave one out"
        )
    text = text or TextOptions()
    parts = {part: text.applied(rows) for part, rows in parts.items()}
    check_recordings(parts)
    prepared = _words(parts, words)
    corpus = {
        "name": name,
        "source": "real",
        "split": split,
        **({"text": dataclasses.asdict(text)} if text != TextOptions() else {}),
        "parts": {part: str(path) for part, path in paths.items()},
    }
    description = write_manifests(
        output,
        prepared.parts,
        corpus,
        options=options,
        texts=prepared.texts,
        check=prepared.check,
        allow_shared_speakers=allow_shared_speakers,
    )
    rates = [int(rate) for rate in description["recordings_by_rate"]]
    if description["sampling_rate"] is None and rates != [_USUAL_RATE]:
        _log.info(
            "recordings at %s Hz: features resample them to the rate of the filterbank's configuration, %d Hz by default",
            *(" and ".join(map(str, rates)), _USUAL_RATE),
        )
    return description


def _read(part: str, path: Path, audio_roots: Sequence[Path], speaker_from: SpeakerSource) -> list[Utterance]:
    if path.is_dir():
        return read_kaldi_directory(path, audio_roots, speaker_from=speaker_from)
    if path.is_file():
        return read_cut_set(path, audio_roots, speaker_from=speaker_from)
    raise UserError(
        f"{part}: {path} does not exist; expected a Kaldi data directory (with wav.scp, text, and utt2spk or spk2utt) or the"
        " file of a lhotse CutSet (cuts.jsonl.gz)"
    )


def _words(parts: Mapping[str, Sequence[Utterance]], words: WordOptions | None) -> PreparedWords:
    if words is None:
        return spell_words(parts)
    if words.lexicon is None and not words.cmudict:
        return PreparedWords({part: list(rows) for part, rows in parts.items()}, {}, lambda cut: None)
    return pronounce_words(parts, words)
