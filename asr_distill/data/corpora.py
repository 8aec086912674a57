"""From a list of utterances to a manifests folder: what every ``local/prepare_*.py`` shares.

Comes in: `Utterance` rows per split. Goes out: ``cuts_{train,dev,test}.jsonl.gz`` (lhotse MonoCuts, one supervision each),
``corpus.json`` and, for audio that lhotse could not read as it is, ``audio/``; the folder appears whole or not at all.
"""

from __future__ import annotations

import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from numpy.typing import NDArray

from asr_distill.base import (
    UserError,
    atomic_directory,
    check_replaceable,
    hash_of_object,
    track,
    write_json,
    write_jsonl,
    write_text,
)
from asr_distill.data.audio_files import ByteOrder, read_raw, write_wav
from asr_distill.features.audio_files import AudioInfo, audio_info, read_audio
from asr_distill.features.resampling import resample_sharply

SpeakerSource = Literal["supervision", "recording", "utterance"]  # who is a speaker where the data name none
CORPUS_FILE = "corpus.json"
_log = logging.getLogger("asr_distill")
_SHOWN = 10  # utterances named in an error; the rest are counted
_CHOOSE = "choose one with --channel"
_KALDI_CLIP = 0.5 + 0.01  # seconds
_ROUNDING = 1e-6  # of an utterance: 0.29 of 100 is a little less than 29 in floating point


@dataclass(frozen=True)
class Utterance:
    """One transcribed stretch of a recording; times in seconds, ``duration`` None up to the end of the recording.

    ``channel``: which one of ``audio`` (from 0); None: its only one, or that of `AudioOptions`.
    """

    id: str
    audio: Path
    speaker: str
    text: str
    recording_id: str = ""
    start: float = 0.0
    duration: float | None = None
    gender: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)
    channel: int | None = None


@dataclass(frozen=True)
class AudioOptions:
    """How audio is taken in.

    ``sampling_rate``: hertz, others are resampled; None leaves recordings as they are, for `asr-distill features` resamples cut
    by cut. ``channel``: which channel (from 0) of a recording with several; None refuses them. ``allow_bad``: the share of
    utterances (0 to 1) that may be left out because their audio or transcript cannot be used. ``clip``: seconds by which an
    utterance may end after its recording, and is then cut off there; a frame is rounding, Kaldi allows half a second.
    """

    sampling_rate: int | None = 16000
    channel: int | None = None
    raw_byte_order: ByteOrder = "auto"
    allow_bad: float = 0.0
    clip: float = 0.01


def write_manifests(
    output: Path,
    splits: Mapping[str, Sequence[Utterance]],
    corpus: Mapping[str, Any],
    *,
    options: AudioOptions | None = None,
    texts: Mapping[str, str | Path] | None = None,
    check: Callable[[MonoCut], None] | None = None,
    allow_shared_speakers: bool | None = None,
) -> dict[str, Any]:
    """Writes the manifests folder ``output`` and returns what stands in its corpus.json.

    ``corpus`` gives the leading keys of corpus.json (name, source, split rule), ``texts`` further files by name (the text
    of a lexicon, a file to copy). Recordings at another rate than ``options.sampling_rate`` are resampled into ``audio/``.
    ``check`` raises `UserError` for a cut that cannot be used. ``allow_shared_speakers``: see `check_utterances`. Raises
    `UserError` for duplicate ids, speakers in two splits, utterances without transcript, those whose audio or ``check``
    fails (beyond ``options.allow_bad``), a split without utterances, and an ``output`` that holds something else.
    """
    options = options or AudioOptions()
    output = Path(output).resolve()
    check_output(output)
    shared = check_utterances(splits, allow_shared_speakers)
    problems: list[str] = []
    rates: Counter[int] = Counter()
    with atomic_directory(output, kind=CORPUS_FILE) as folder:
        counts: dict[str, Any] = {}
        for split, utterances in splits.items():
            cuts = _build_cuts(split, utterances, folder, output, options, problems, rates, check)
            write_jsonl(folder / f"cuts_{split}.jsonl.gz", (cut.to_dict() for cut in cuts))
            counts[split] = count_cuts(cuts)
        # Bounded when all parts are read: a share that one part suggests would be too small for the next.
        _bound_problems(problems, sum(map(len, splits.values())), options.allow_bad)
        for split, numbers in counts.items():
            if not numbers["utterances"]:
                raise UserError(f"the {split} part has no utterance that can be used")
        resampled = {rate: rates[rate] for rate in sorted(rates) if options.sampling_rate not in (None, rate)}
        for rate, number in resampled.items():
            _log.info("%d recordings at %d Hz were resampled to %d Hz", number, rate, options.sampling_rate)
        for name, text in (texts or {}).items():
            if isinstance(text, Path):
                shutil.copyfile(text, folder / name)
            else:
                write_text(folder / name, text)
        lexicon = (texts or {}).get("lexicon.txt")
        missing = words_not_in_lexicon(lexicon, splits) if isinstance(lexicon, str) else {}
        if missing:
            named = [f"{word} ({number})" for word, number in missing.items()]
            _log.warning("%d words of the transcripts are not in the lexicon: %s", len(missing), _some(named))
        description = {
            **corpus,
            "sampling_rate": options.sampling_rate,
            "counts": counts,
            "recordings_by_rate": {str(rate): rates[rate] for rate in sorted(rates)},
            "resampled_recordings": {str(rate): number for rate, number in resampled.items()},
            "words_not_in_lexicon": missing,
            "left_out": problems,
            **({"shared_speakers": shared} if shared else {}),
        }
        write_json(folder / CORPUS_FILE, description)
    for split, numbers in counts.items():
        _log.info(
            "%s: %d utterances, %d speakers, %d words, %.3f h",
            *(split, numbers["utterances"], numbers["speakers"], numbers["words"], numbers["hours"]),
        )
    _log.info("wrote %s", output)
    return description


def count_cuts(cuts: Sequence[MonoCut]) -> dict[str, Any]:
    """Utterances, speakers, running words and hours."""
    return {
        "utterances": len(cuts),
        "speakers": len({cut.supervisions[0].speaker for cut in cuts}),
        "words": sum(len(cut.supervisions[0].text.split()) for cut in cuts),
        "hours": round(sum(cut.duration for cut in cuts) / 3600, 4),
    }


def check_utterances(
    splits: Mapping[str, Sequence[Utterance]], allow_shared_speakers: bool | None = None
) -> dict[str, list[str]]:
    """The speakers who are in more than one split, by the two splits' names.

    allow_shared_speakers: None refuses them; False does too and names the option, which the caller has.
    Raises `UserError` for duplicate ids and, unless it is allowed, for such speakers.
    """
    occurrences = Counter(utterance.id for utterances in splits.values() for utterance in utterances)
    repeated = sorted(name for name, number in occurrences.items() if number > 1)
    if repeated:
        raise UserError(f"{len(repeated)} utterance ids occur more than once: {_some(repeated)}; ids must be unique")
    speakers = {split: {utterance.speaker for utterance in utterances} for split, utterances in splits.items()}
    shared = {
        f"{first} and {second}": sorted(speakers[first] & speakers[second])
        for first, second in itertools.combinations(speakers, 2)
        if speakers[first] & speakers[second]
    }
    for pair, both in shared.items():
        if not allow_shared_speakers:
            option = (
                " Next: --allow-shared-speakers, which says so beside the figures" if allow_shared_speakers is False else ""
            )
            raise UserError(
                f"{len(both)} speakers are in both {pair}: {_some(both)};"
                f" a speaker may be in one part only, or the figures mean nothing for new speakers.{option}"
            )
        _log.warning("%d speakers are in both %s: %s; figures mean nothing for new speakers", len(both), pair, _some(both))
    return shared


def words_not_in_lexicon(lexicon: str, splits: Mapping[str, Sequence[Utterance]]) -> dict[str, int]:
    """Words of the transcripts that the text of a lexicon.txt does not have, with counts, the most frequent first."""
    known = {line.split(maxsplit=1)[0] for line in lexicon.splitlines() if line.strip()}
    words = Counter(word for utterances in splits.values() for row in utterances for word in row.text.split())
    return {word: number for word, number in sorted(words.items(), key=lambda item: (-item[1], item[0])) if word not in known}


def check_counts(what: str, expected: Mapping[str, int], found: Mapping[str, int], allow_partial: bool) -> None:
    """Raises `UserError` where a count differs from the corpus as published, unless ``allow_partial``, which warns instead."""
    different = [f"{name} {found[name]} instead of {number}" for name, number in expected.items() if found[name] != number]
    if not different:
        return
    message = f"{what} is not complete: {', '.join(different)}"
    if not allow_partial:
        raise UserError(f"{message}. Next: get the whole corpus, or pass --allow-partial to go on with what is there")
    _log.warning("%s; going on because of --allow-partial", message)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def check_output(output: Path) -> None:
    """Raises `UserError` where manifests cannot go to ``output``; asked before the audio is read."""
    check_replaceable(output, kind=CORPUS_FILE)


def _bound_problems(problems: Sequence[str], total: int, allow_bad: float) -> None:
    if len(problems) > allow_bad * total + _ROUNDING:
        shown = "\n  ".join(problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        several = sum(_CHOOSE in problem for problem in problems)
        others = len(problems) - several
        enough = -(-1000 * others // total) / 1000  # rounded up: what is suggested has to do
        steps = ["--channel 0 (or another) for recordings with several channels"] if several else []
        if others > allow_bad * total + _ROUNDING:
            steps.append(f"mend them, or leave them out with --allow-bad {enough:.3f} or more")
        raise UserError(
            f"{len(problems)} of {total} utterances cannot be used:\n  {shown}{more}\nNext: {'; for the others, '.join(steps)}"
        )


def _build_cuts(
    split: str,
    utterances: Sequence[Utterance],
    folder: Path,
    output: Path,
    options: AudioOptions,
    problems: list[str],
    rates: Counter[int],
    check: Callable[[MonoCut], None] | None,
) -> list[MonoCut]:
    recordings: dict[tuple[str, int | None], tuple[Recording, int] | str] = {}
    cuts = []
    for utterance in track(sorted(utterances, key=lambda row: row.id), f"reading {split} audio", len(utterances), "utterances"):
        name = utterance.recording_id or utterance.id, utterance.channel
        try:
            if not utterance.text.split():
                raise UserError(f"{utterance.audio}: the transcript is empty or missing")
            if name not in recordings:
                try:
                    recordings[name] = _take_in(name[0], utterance, folder, output, options, rates)
                except UserError as error:
                    recordings[name] = str(error)
            found = recordings[name]
            if isinstance(found, str):
                raise UserError(found)
            cut = _cut(utterance, *found, options.clip)
            if check is not None:
                check(cut)
            cuts.append(cut)
        except UserError as error:
            problems.append(f"{utterance.id}: {error}")
    return cuts


def _take_in(
    name: str, utterance: Utterance, folder: Path, output: Path, options: AudioOptions, rates: Counter[int]
) -> tuple[Recording, int]:
    """The recording (resampled or rewritten under ``audio/`` where needed) and the channel to use."""
    path, chosen = utterance.audio, options.channel if utterance.channel is None else utterance.channel
    raw = path.suffix.lower() == ".raw" and path.is_file()
    if raw:
        samples = read_raw(path, options.raw_byte_order)
        info = AudioInfo(options.sampling_rate or 16000, 1, samples.shape[1])
    else:
        info = audio_info(path)
    channels, rate = info.channels, info.sampling_rate
    if channels > 1 and chosen is None:
        raise UserError(f"{path}: {channels} channels, expected 1; {_CHOOSE} 0 to {channels - 1}")
    channel = (chosen or 0) if channels > 1 or utterance.channel is not None else 0
    if channel >= channels:
        asked = f"--channel {channel}" if utterance.channel is None else f"channel {channel}, which {utterance.id} names,"
        raise UserError(f"{path}: has {channels} channels, {asked} does not exist (they count from 0)")
    source, kept_channels, wanted = path.resolve(), list(range(channels)), options.sampling_rate or rate
    rates[rate] += 1
    num_samples = info.num_samples
    if rate != wanted or path.suffix.lower() in (".sph", ".raw"):
        if not raw:
            samples, _ = read_audio(path)
        signal: NDArray[np.float32] = resample_sharply(samples[channel], rate, wanted)
        if utterance.channel is not None and channels > 1:
            name = f"{name}-channel{channel}"  # another utterance may want another channel
        file = Path("audio") / f"{_file_name(name)}.wav"
        write_wav(folder / file, signal, wanted)
        source, kept_channels, channel, num_samples = output / file, [0], 0, len(signal)
    recording = Recording(
        id=name,
        sources=[AudioSource(type="file", channels=kept_channels, source=str(source))],
        sampling_rate=wanted,
        num_samples=num_samples,
        duration=num_samples / wanted,
        channel_ids=kept_channels,
    )
    return recording, channel


def _file_name(name: str) -> str:
    """A recording's id as a file name: another id never gives the same one."""
    quoted = quote(name, safe=" ")
    return quoted if len(quoted) <= 200 else f"{quoted[:120]}-{hash_of_object(name)[:32]}"


def _cut(utterance: Utterance, recording: Recording, channel: int, clip: float) -> MonoCut:
    start = round(utterance.start * recording.sampling_rate) / recording.sampling_rate
    duration = recording.duration - start if utterance.duration is None else utterance.duration
    over = start + duration - recording.duration
    if start < 0 or duration <= 0 or over > clip + _ROUNDING or start >= recording.duration:
        kaldi = ". Next: --clip-segments 0.5 cuts them off there, as Kaldi does" if clip < over <= _KALDI_CLIP else ""
        raise UserError(
            f"{utterance.audio}: the supervision runs from {start:.3f} s to {start + duration:.3f} s,"
            f" the recording from 0 to {recording.duration:.3f} s{kaldi}"
        )
    duration = min(round(duration * recording.sampling_rate), recording.num_samples - round(start * recording.sampling_rate))
    seconds = duration / recording.sampling_rate
    supervision = SupervisionSegment(
        id=utterance.id,
        recording_id=recording.id,
        start=0.0,
        duration=seconds,
        channel=channel,
        text=" ".join(utterance.text.split()),
        speaker=utterance.speaker,
        gender=utterance.gender,
        custom=dict(utterance.custom) or None,
    )
    return MonoCut(
        id=utterance.id, start=start, duration=seconds, channel=channel, supervisions=[supervision], recording=recording
    )
