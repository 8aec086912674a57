"""Kaldi data directories (wav.scp, text, utt2spk, optionally segments, spk2gender, spk2age) as lists of utterances.

lhotse reads them; before that the files are checked line by line, because lhotse takes the last of two equal ids, runs
commands found in wav.scp, and looks for relative paths in the working directory.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from asr_distill.base import UserError
from asr_distill.data.audio_files import find_audio
from asr_distill.data.corpora import Utterance


def read_kaldi_directory(data_dir: Path, audio_roots: Sequence[Path] = (), sampling_rate: int = 16000) -> list[Utterance]:
    """The utterances of a Kaldi data directory, in sorted order.

    Relative paths of wav.scp are looked for in ``audio_roots``, the directory itself, its parent, that one's parent (where
    data/train lies) and the working directory; a file that exists under another audio suffix (.ogg for .WAV) is taken. Gender
    and age of the speaker are kept. Raises `UserError` for missing files, duplicate ids, commands (``... |``), utterances
    without a speaker, audio not found.
    An utterance without a transcript comes back with an empty text, for `write_manifests` to refuse or count.
    """
    from lhotse.kaldi import load_kaldi_data_dir

    if not data_dir.is_dir():
        raise UserError(f"{data_dir} is not a folder; expected a Kaldi data directory with wav.scp, text and utt2spk")
    wavs = read_table(data_dir / "wav.scp")
    speakers = read_table(data_dir / "utt2spk")
    texts = read_table(data_dir / "text", empty=True)
    segments = read_table(data_dir / "segments") if (data_dir / "segments").is_file() else None
    _check_ids(data_dir, wavs, speakers, texts, segments)
    roots = [*audio_roots, data_dir, data_dir.parent, data_dir.resolve().parent.parent, Path.cwd()]
    files = {name: _resolve(name, value, data_dir / "wav.scp", roots) for name, value in wavs.items()}
    ages = read_table(data_dir / "spk2age") if (data_dir / "spk2age").is_file() else {}
    with tempfile.TemporaryDirectory(prefix="kaldi-") as name:
        folder = Path(name)
        _write_table(folder / "wav.scp", {key: str(path) for key, path in files.items()})
        # lhotse would open every file for its duration, which is read with the samples later.
        _write_table(folder / "reco2dur", dict.fromkeys(files, "1000000"))
        # Nor does it read a line with an id alone, which is what an utterance without a transcript looks like.
        _write_table(folder / "text", {key: texts.get(key) or "-" for key in speakers})
        _write_table(folder / "utt2spk", speakers)
        if segments is not None:
            _write_table(folder / "segments", segments)
        if (data_dir / "spk2gender").is_file():
            _write_table(folder / "spk2gender", read_table(data_dir / "spk2gender"))
        try:
            _, supervisions, _ = load_kaldi_data_dir(folder, sampling_rate=sampling_rate)
        except (AssertionError, KeyError, ValueError) as error:
            raise UserError(f"{data_dir}: lhotse cannot read it ({type(error).__name__}: {error})") from None
    utterances = []
    for row in supervisions or ():
        to_the_end = segments is None or segments[row.id].split()[2] == "-1"
        utterances.append(
            Utterance(
                id=row.id,
                audio=files[row.recording_id],
                speaker=row.speaker,
                text=texts.get(row.id, ""),
                recording_id=row.recording_id,
                start=row.start,
                duration=None if to_the_end else row.duration,
                gender=_gender(row.gender),
                custom={"age": int(ages[row.speaker])} if ages.get(row.speaker, "").isdigit() else {},
            )
        )
    return sorted(utterances, key=lambda row: row.id)


def read_table(path: Path, empty: bool = False) -> dict[str, str]:
    """Key to the rest of the line; ``empty`` allows lines with a key alone. Raises `UserError` for two lines with one key."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a Kaldi data directory with wav.scp, text and utt2spk")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); convert it with iconv") from None
    table: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key, *rest = line.split(maxsplit=1)
        if not rest and not empty:
            raise UserError(f"{path}, line {number}: {key!r} stands alone; expected an id and a value")
        if key in table:
            raise UserError(f"{path}, line {number}: duplicate id {key!r}; ids must be unique")
        table[key] = rest[0].strip() if rest else ""
    return table


def read_lexicon(path: Path) -> str:
    """A Kaldi lexicon.txt with single spaces and each line once, in the order given; the text of manifests/lexicon.txt."""
    if not path.is_file():
        raise UserError(f"lexicon {path} does not exist; expected lines of WORD PHONE PHONE ...")
    lines: dict[str, None] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        parts = line.split()
        if len(parts) == 1:
            raise UserError(f"{path}, line {number}: {parts[0]} has no pronunciation")
        if parts:
            lines[" ".join(parts)] = None
    return "\n".join(lines) + "\n"


def _check_ids(
    data_dir: Path, wavs: dict[str, str], speakers: dict[str, str], texts: dict[str, str], segments: dict[str, str] | None
) -> None:
    utterances = segments if segments is not None else wavs
    where = "segments" if segments is not None else "wav.scp"
    for missing, message in (
        (sorted(set(utterances) - set(speakers)), f"are in {where} and not in utt2spk"),
        (sorted(set(speakers) - set(utterances)), f"are in utt2spk and not in {where}"),
        (sorted(set(texts) - set(utterances)), f"are in text and not in {where}"),
    ):
        if missing:
            raise UserError(
                f"{data_dir}: {len(missing)} utterances {message}, the first is {missing[0]}."
                " Next: Kaldi's utils/fix_data_dir.sh, or mend the files by hand"
            )
    for name, value in (segments or {}).items():
        fields = value.split()
        if len(fields) != 3 or not all(re.fullmatch(r"-?\d+(\.\d*)?", field) for field in fields[1:]):
            raise UserError(f"{data_dir / 'segments'}: {name}: expected RECORDING START END, found {value!r}")
        if fields[0] not in wavs:
            raise UserError(f"{data_dir / 'segments'}: {name} belongs to recording {fields[0]!r}, which wav.scp does not have")


def _resolve(name: str, value: str, table: Path, roots: Sequence[Path]) -> Path:
    if value.endswith("|"):
        raise UserError(
            f"{table}: {name} is a command ({value!r}); commands are not run. Next: write the audio to files"
            " (Kaldi's wav-copy, or sph2pipe and sox by hand) and name those; .wav, .flac, .ogg and .sph are read as they are"
        )
    for root in roots:
        path = root / value
        if path.is_file():
            return path.resolve()
        other = find_audio(path.with_suffix(""))
        if other is not None:
            return other.resolve()
    raise UserError(f"{table}: {name}: {value} does not exist (looked in {', '.join(dict.fromkeys(map(str, roots)))})")


def _gender(value: str | None) -> str | None:
    return {"m": "M", "f": "F"}.get(value.lower(), value) if value else None


def _write_table(path: Path, table: dict[str, str]) -> None:
    path.write_text("".join(f"{key} {value}\n" for key, value in sorted(table.items())), encoding="utf-8")
