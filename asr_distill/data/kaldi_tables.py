"""The text tables of a Kaldi data directory: an id and a value a line; and who speaks each utterance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from asr_distill.base import UserError, split_words, text_lines
from asr_distill.base.text import has_odd_character
from asr_distill.data.corpora import SpeakerSource


def read_table(path: Path, empty: bool = False) -> dict[str, str]:
    """Key to the rest of the line; ``empty`` allows lines with a key alone. Raises `UserError` for two lines with one key."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a Kaldi data directory with wav.scp, text, and utt2spk or spk2utt")
    table: dict[str, str] = {}
    for number, line in text_lines(path, "a table of a Kaldi data directory"):
        if not line.strip(" \t"):
            continue
        key, *rest = re.split("[ \t]+", line.strip(" \t"), maxsplit=1)
        if has_odd_character(key):
            split_words(key, f"{path}, line {number}")
        if not rest and not empty:
            raise UserError(f"{path}, line {number}: {key!r} stands alone; expected an id and a value")
        if key in table:
            raise UserError(f"{path}, line {number}: duplicate id {key!r}; ids must be unique")
        table[key] = rest[0] if rest else ""
    return table


def line_of(path: Path, key: str) -> int:
    """The number, from 1, of the line that begins with ``key``."""
    return next(number for number, line in text_lines(path, "a table") if line.split()[:1] == [key])


def read_speakers(data_dir: Path, recordings: Mapping[str, str], speaker_from: SpeakerSource) -> dict[str, str]:
    """Each utterance's speaker: from utt2spk, else from spk2utt; ``recordings`` gives each utterance's recording.

    Utterances that these do not name get what ``speaker_from`` says, or are left out. Raises `UserError` where there is neither
    file and ``speaker_from`` is ``supervision``, and for an utterance of two speakers.
    """
    if (data_dir / "utt2spk").is_file():
        speakers = read_table(data_dir / "utt2spk")
    elif (data_dir / "spk2utt").is_file():
        speakers = _turned(data_dir / "spk2utt")
    elif speaker_from == "supervision":
        raise UserError(
            f"{data_dir} has neither utt2spk nor spk2utt, and by speakers features are normalised, parts kept apart and"
            " intervals drawn. Next: write utt2spk with lines of UTTERANCE SPEAKER, or --speaker-from recording, where no two"
            " recordings have a speaker in common, or --speaker-from utterance"
        )
    else:
        speakers = {}
    if speaker_from == "supervision":
        return speakers
    default = {name: name if speaker_from == "utterance" else recording for name, recording in recordings.items()}
    return {**default, **speakers}


def _turned(path: Path) -> dict[str, str]:
    """utt2spk from a spk2utt file (``SPEAKER UTTERANCE UTTERANCE ...``)."""
    speakers: dict[str, str] = {}
    for speaker, utterances in read_table(path).items():
        for name in utterances.split():
            if speakers.setdefault(name, speaker) != speaker:
                raise UserError(
                    f"{path}, line {line_of(path, speaker)}: the utterance {name!r} is {speaker}'s and {speakers[name]}'s;"
                    " leave it to one of them"
                )
    return speakers
