"""The gate for lhotse manifests: what they may have this toolkit open is plain files, and nothing else.

A lhotse manifest may name shell commands, addresses and pickles instead of files, in recordings, in stored features and arrays,
in the impulse responses of transforms and in fields of the user's own; and lhotse runs them. So every CutSet is read by
`read_manifest`, and every cut is looked through again by `check_sources` where audio or an array of it is about to be read, by
readers of our own (`audio_files`, `stored_arrays`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from lhotse.audio import AudioSource
from lhotse.augmentation import Resample, Speed, Volume
from lhotse.cut import Cut

from asr_distill.base import UserError, read_json, read_jsonl
from asr_distill.features.manifest_values import check_values, shown

# Those of lhotse's that name a file; `stored_arrays` says which of them are read.
STORAGES = (
    *("numpy_files", "lilcom_files", "lilcom_chunky"),
    *("numpy_hdf5", "lilcom_hdf5", "chunked_lilcom_hdf5", "pillow_files"),
)
_SAVE = "Next: save the data to files (lhotse: CutSet.save_audios, CutSet.copy_data) and give the CutSet that comes back"
_LARGEST_CHANGE = 10.0  # times, of speed: a manifest must not make hours of a second
_consent = {"commands": False}  # of the whole process: features are computed in threads


@contextmanager
def commands_allowed(allowed: bool = True) -> Iterator[None]:
    """Inside, recordings that are the output of a shell command are read: lhotse runs what the manifest says.

    Only for manifests that you wrote or have read; the command line's ``--allow-commands``.
    """
    before = _consent["commands"]
    _consent["commands"] = allowed
    try:
        yield
    finally:
        _consent["commands"] = before


def is_allowed_command(source: Any) -> bool:
    """Whether a lhotse `AudioSource` is a command, and these may be run."""
    return bool(source.type == "command" and _consent["commands"])


def read_manifest(path: str | Path) -> list[Any]:
    """The cuts of a lhotse CutSet (``.jsonl``, ``.jsonl.gz``, ``.json``), as a list (so that duplicate ids are seen).

    Raises `UserError` where the file is missing, damaged, holds anything but cuts, or a cut names anything but plain files.
    """
    from lhotse.serialization import deserialize_item

    path, cuts = Path(path), []
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}, entry {number}"
        try:
            if not isinstance(row, dict):
                raise UserError(f"found {type(row).__name__}, expected a cut")
            cut = deserialize_item(row)
            if not isinstance(cut, Cut):
                raise UserError(f"holds {type(cut).__name__} entries, expected cuts; give the cuts_*.jsonl.gz manifest")
            check_sources(cut)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except Exception as error:  # lhotse raises anything on what it cannot read
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{where}: it is not a lhotse cut ({type(error).__name__}: {reason}); write it anew") from None
        cuts.append(cut)
    return cuts


def _rows(path: Path) -> Iterator[Any]:
    """The values of a manifest, by its suffix, as lhotse goes by; but not by lhotse, which runs a name that is a pipe."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the stage that writes it first")
    if ".jsonl" in path.suffixes:
        yield from read_jsonl(path)
    elif path.suffix == ".json":
        rows = read_json(path)
        yield from rows if isinstance(rows, list) else [rows]
    else:
        raise UserError(
            f"{path} is not a lhotse CutSet by its name, expected cuts_NAME.jsonl.gz, .jsonl or .json. Next, for one of"
            " your own in another form: lhotse copy OLD NEW.jsonl.gz"
        )


def check_sources(cut: Any) -> None:
    """Raises `UserError` naming the cut (or recording) where anything in it is to be read from elsewhere than a plain file.

    Recordings, stored features and arrays are looked at wherever they stand: in tracks, transforms and custom fields too.
    Values of another type than lhotse gives them, and numbers out of bounds, are refused as well.
    """
    where = f"cut {shown(getattr(cut, 'id', ''), quoted=False)}"
    try:
        _check(cut, where)
        check_values(cut, where)
    except RecursionError:
        raise UserError(f"{where}: its fields stand within each other without end; remove them") from None


def _check(value: Any, where: str) -> None:
    if value is None or isinstance(value, (str, int, float)):
        return
    if is_dataclass(value):
        if isinstance(value, AudioSource):
            _check_source(value, where)
        elif hasattr(value, "storage_type"):
            _check_stored(vars(value), where)
        if isinstance(transforms := getattr(value, "transforms", None), list):
            _check_transforms(transforms, where)
        for inner in vars(value).values():
            _check(inner, where)
    elif isinstance(value, Mapping):
        if {"type", "channels", "source"} <= value.keys():
            _check_source(AudioSource(value["type"], [], value["source"]), where)
        if "storage_type" in value or "storage_path" in value:
            _check_stored(value, where)
        for inner in value.values():
            _check(inner, where)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner, where)


def _check_source(source: AudioSource, where: str) -> None:
    if is_allowed_command(source):
        return
    if source.type != "file":
        consent = "; or, where you trust the commands in this manifest, --allow-commands" if source.type == "command" else ""
        raise UserError(
            f"{where}: its recording is a {shown(source.type)} ({shown(source.source)}), expected a file. {_SAVE}{consent}"
        )
    _check_path(source.source, f"{where}: its recording")


def _check_stored(stored: Mapping[str, Any], where: str) -> None:
    kind = stored.get("storage_type")
    if kind not in STORAGES:
        raise UserError(f"{where}: it has an array stored as {shown(kind)}, expected one of {', '.join(STORAGES)}. {_SAVE}")
    for key in ("storage_path", "storage_key"):
        _check_path(stored.get(key), f"{where}: the {key} of its array")


def _check_path(name: Any, what: str) -> None:
    """What lhotse or a library under it takes for a command or an address is refused, whoever opens it in the end."""
    if not isinstance(name, (str, Path)):
        raise UserError(f"{what} is {shown(name)}, expected the name of a file. {_SAVE}")
    text = re.sub(r"[\t\r\n]", "", str(name)).strip()  # Python looks for an address without them
    if text.startswith("pipe:") or "|" in (text[:1], text[-1:]) or "://" in text or "\0" in text:
        raise UserError(f"{what} is {shown(name)}: a command or an address, expected the name of a file. {_SAVE}")


def _check_transforms(transforms: list[Any], where: str) -> None:
    """Those that we do ourselves pass: of the others some read files by lhotse, and so by a shell."""
    speeds = 1.0
    for change in transforms:
        kind = change.get("name") if isinstance(change, Mapping) else type(change).__name__
        if not isinstance(change, (Speed, Resample, Volume)):
            raise UserError(
                f"{where}: its recording has the transform {shown(kind)}, expected Speed, Resample or Volume. {_SAVE}"
            )
        check_values(change, where)
        speeds *= change.factor if isinstance(change, Speed) else 1.0
        if not 1 / _LARGEST_CHANGE <= speeds <= _LARGEST_CHANGE:
            raise UserError(f"{where}: its recording is played {speeds:g} times as fast, expected 0.1 to 10. {_SAVE}")
