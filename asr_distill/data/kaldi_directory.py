"""Kaldi data directories (wav.scp, text, utt2spk or spk2utt, optionally segments, spk2gender, spk2age) as utterances.

They are read line by line, and not by lhotse, which takes the last of two equal ids, runs commands found in wav.scp, and looks
for relative paths in the working directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_distill.base import UserError, normalise_text, split_words
from asr_distill.base.text import has_odd_character
from asr_distill.data.audio_files import find_audio
from asr_distill.data.corpora import SpeakerSource, Utterance
from asr_distill.data.kaldi_tables import Segment, line_of, read_segments, read_speakers, read_table
from asr_distill.data.piped_audio import unpacked_file


def read_kaldi_directory(
    data_dir: Path,
    audio_roots: Sequence[Path] = (),
    sampling_rate: int = 16000,
    *,
    speaker_from: SpeakerSource = "supervision",
) -> list[Utterance]:
    """The utterances of a Kaldi data directory, in sorted order.

    Relative paths of wav.scp are looked for in ``audio_roots``, the directory itself, its parent, that one's parent (where
    data/train lies) and the working directory; a file that exists under another audio suffix (.ogg for .WAV) is taken, and the
    one that a command only unpacks (`unpacked_file`). Gender and age of the speaker are kept, words come back in Unicode's
    composed form (NFC). ``speaker_from``: where neither utt2spk nor spk2utt names a speaker, its recording or the utterance
    itself is taken for one. Raises `UserError` for missing files, duplicate ids, other commands, utterances without a speaker,
    audio not found.
    An utterance without a transcript comes back with an empty text, for `write_manifests` to refuse or count.
    """
    if not data_dir.is_dir():
        raise UserError(f"{data_dir} is not a folder; expected a Kaldi data directory with wav.scp, text and utt2spk")
    wavs = read_table(data_dir / "wav.scp")
    texts = _transcripts(data_dir / "text")
    segments = read_segments(data_dir / "segments", wavs) if (data_dir / "segments").is_file() else None
    recordings = {name: name for name in wavs} if segments is None else {key: row.recording for key, row in segments.items()}
    speakers = read_speakers(data_dir, recordings, speaker_from)
    _check_ids(data_dir, wavs, speakers, texts, segments)
    roots = [*audio_roots, data_dir, data_dir.parent, data_dir.resolve().parent.parent, Path.cwd()]
    sources = {name: _resolve(name, value, data_dir / "wav.scp", roots) for name, value in wavs.items()}
    ages = read_table(data_dir / "spk2age") if (data_dir / "spk2age").is_file() else {}
    genders = read_table(data_dir / "spk2gender") if (data_dir / "spk2gender").is_file() else {}
    utterances = []
    for key, speaker in sorted(speakers.items()):
        span = segments[key] if segments is not None else Segment(key)
        channel = sources[span.recording][1]
        utterances.append(
            Utterance(
                id=key,
                audio=sources[span.recording][0],
                speaker=speaker,
                text=texts.get(key, ""),
                recording_id=span.recording,
                start=span.start,
                duration=None if span.end is None else span.end - span.start,
                gender=_gender(genders.get(speaker)),
                custom={"age": int(ages[speaker])} if ages.get(speaker, "").isdigit() else {},
                channel=channel if span.channel is None else span.channel,
            )
        )
    return utterances


def _transcripts(path: Path) -> dict[str, str]:
    """Words between single spaces. Raises `UserError` with the line of a blank that may or may not separate two."""
    texts = {}
    for key, value in read_table(path, empty=True).items():
        value = normalise_text(value)
        if has_odd_character(value):
            split_words(value, f"{path}, line {line_of(path, key)}")
        texts[key] = " ".join(value.split())
    return texts


def _check_ids(
    data_dir: Path,
    wavs: Mapping[str, str],
    speakers: Mapping[str, str],
    texts: Mapping[str, str],
    segments: Mapping[str, Segment] | None,
) -> None:
    utterances = set(segments if segments is not None else wavs)
    where = "segments" if segments is not None else "wav.scp"
    table = "utt2spk" if (data_dir / "utt2spk").is_file() else "spk2utt"
    for missing, message in (
        (sorted(utterances - set(speakers)), f"are in {where} and not in {table}"),
        (sorted(set(speakers) - utterances), f"are in {table} and not in {where}"),
        (sorted(set(texts) - utterances), f"are in text and not in {where}"),
    ):
        if missing:
            raise UserError(
                f"{data_dir}: {len(missing)} utterances {message}, the first is {missing[0]}."
                " Next: Kaldi's utils/fix_data_dir.sh, or mend the files by hand"
            )


def _resolve(name: str, value: str, table: Path, roots: Sequence[Path]) -> tuple[Path, int | None]:
    """The audio file, and its channel (from 0) where a command names one."""
    if not value.endswith("|"):
        return _find(name, value, table, roots), None
    piped = unpacked_file(value)
    if piped is None:
        raise UserError(_refused_command(name, value, table, roots))
    return _find(name, piped.name, table, roots), piped.channel


def _find(name: str, value: str, table: Path, roots: Sequence[Path]) -> Path:
    for root in roots:
        path = root / value
        if path.is_file():
            return path.resolve()
        other = find_audio(path.with_suffix(""))
        if other is not None:
            return other.resolve()
    raise UserError(f"{table}: {name}: {value} does not exist (looked in {', '.join(dict.fromkeys(map(str, roots)))})")


def _refused_command(name: str, value: str, table: Path, roots: Sequence[Path]) -> str:
    named = [word for word in value.rstrip("|").split()[1:] if any((root / word).is_file() for root in roots)]
    direct = f"where {named[0]} does as it is, make the line '{name} {named[0]}'; else " if len(named) == 1 else ""
    write = f"write what the command gives to a file, {value.rstrip('|').rstrip()} > {name}.wav, and name that"
    return (
        f"{table}, line {line_of(table, name)}: {name} is a command ({value!r}); commands are not run, and only those that just"
        " unpack one file are understood (flac -c -d -s FILE, sph2pipe -f wav -p -c 1 FILE, sox FILE -t wav -, cat FILE)."
        f" Next: {direct}{write}"
    )


def _gender(value: str | None) -> str | None:
    return {"m": "M", "f": "F"}.get(value.lower(), value) if value else None
