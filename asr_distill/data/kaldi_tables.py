"""The text tables of a Kaldi data directory: an id and a value a line; and who speaks each utterance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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


_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Segment:
    """A line of segments: where an utterance is in its recording, seconds; ``end`` None: the recording's end."""

    recording: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None


def read_segments(path: Path, recordings: Mapping[str, str]) -> dict[str, Segment]:
    """The segments by utterance, as Kaldi reads them: an end of -1 is the recording's, a fifth field the channel, from 0.

    Raises `UserError` naming the line that is another, or of a recording that is not in ``recordings``.
    """
    segments = {}
    for key, value in read_table(path).items():
        problem, fields = "", value.split()
        numbers = all(_NUMBER.fullmatch(field) for field in fields[1:3])
        if len(fields) not in (3, 4) or not numbers or not all(field.isdecimal() for field in fields[3:]):
            problem = "expected RECORDING START END, perhaps with a CHANNEL behind"
        elif fields[0] not in recordings:
            problem = f"belongs to recording {fields[0]!r}, which wav.scp does not have"
        elif float(fields[1]) < 0 or (float(fields[2]) != -1 and float(fields[2]) <= float(fields[1])):
            problem = "expected a start of 0 or more, and an end that is later, or -1 for the recording's"
        if problem:
            raise UserError(f"{path}, line {line_of(path, key)}: {key}: {problem}, found {value!r}")
        end = float(fields[2])
        channel = int(fields[3]) if len(fields) == 4 else None
        segments[key] = Segment(fields[0], float(fields[1]), None if end == -1 else end, channel)
    return segments


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
