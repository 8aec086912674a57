"""The gate for lhotse manifests: what they may have this toolkit open is plain files, and nothing else.

A lhotse manifest may name shell commands, addresses and pickles instead of files, in recordings, in stored features and arrays,
in the impulse responses of transforms and in fields of the user's own; and lhotse runs them. So every CutSet is read by
`read_manifest`, and every cut is looked through again by `check_sources` where audio or an array of it is about to be read.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asr_distill.base import LONGEST_LINE, UserError, check_file

# Those of lhotse's that open a file by its name and decode it, without pickle.
STORAGES = (
    *("numpy_files", "lilcom_files", "lilcom_chunky"),
    *("numpy_hdf5", "lilcom_hdf5", "chunked_lilcom_hdf5", "pillow_files"),
)
_SAVE = "Next: save the data to files (lhotse: CutSet.save_audios, CutSet.copy_data) and give the CutSet that comes back"
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
    """The entries of a lhotse manifest, all of them, as a list (so that duplicate ids are seen).

    Raises `UserError` where the file is missing, damaged, is not a manifest, or an entry names anything but plain files.
    """
    from lhotse import CutSet

    path = Path(path)
    check_file(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; run the stage that writes it first")
    try:
        _check_line_lengths(path)
        read = CutSet.from_file(path.absolute())  # lhotse runs a relative name that begins with "pipe:"
        cuts = [] if read is None else list(read)  # None: an empty file
    except Exception as error:  # lhotse raises anything on a line that it cannot read
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a lhotse CutSet ({type(error).__name__}: {reason}); write it anew") from None
    for cut in cuts:
        try:
            check_sources(cut)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return cuts


def _check_line_lengths(path: Path) -> None:
    """lhotse reads a line whole, and a few kilobytes of gzip unpack to any length."""
    if path.name.endswith(".gz"):
        with gzip.open(path) as stream:
            while line := stream.readline(LONGEST_LINE):
                if len(line) == LONGEST_LINE:
                    raise ValueError(f"a line is longer than {LONGEST_LINE >> 20} MiB")


def check_sources(cut: Any) -> None:
    """Raises `UserError` naming the cut (or recording) where anything in it is to be read from elsewhere than a plain file.

    Recordings, stored features and arrays are looked at wherever they stand: in tracks, transforms and custom fields too.
    """
    if hasattr(cut, "to_dict"):
        _check(cut.to_dict(), f"cut {getattr(cut, 'id', '')}")


def _check(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        if {"type", "channels", "source"} <= value.keys():
            _check_source(value, where)
        if "storage_type" in value or "storage_path" in value:
            _check_stored(value, where)
        for inner in value.values():
            _check(inner, where)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner, where)


def _check_source(source: Mapping[str, Any], where: str) -> None:
    kind = source["type"]
    if kind == "command" and _consent["commands"]:
        return
    if kind != "file":
        consent = "; or, where you trust the commands in this manifest, --allow-commands" if kind == "command" else ""
        raise UserError(f"{where}: its recording is a {kind!r} ({_shown(source['source'])}), expected a file. {_SAVE}{consent}")
    _check_path(source["source"], f"{where}: its recording")


def _check_stored(stored: Mapping[str, Any], where: str) -> None:
    kind = stored.get("storage_type")
    if kind not in STORAGES:
        raise UserError(f"{where}: it has an array stored as {kind!r}, expected one of {', '.join(STORAGES)}. {_SAVE}")
    for key in ("storage_path", "storage_key"):
        _check_path(stored.get(key), f"{where}: the {key} of its array")


def _check_path(name: Any, what: str) -> None:
    """What lhotse or a library under it takes for a command or an address is refused, whoever opens it in the end."""
    if not isinstance(name, (str, Path)):
        raise UserError(f"{what} is {_shown(name)}, expected the name of a file. {_SAVE}")
    text = str(name)
    if text.startswith("pipe:") or text.strip()[:1] == "|" or text.strip()[-1:] == "|" or "://" in text or "\0" in text:
        raise UserError(f"{what} is {_shown(name)}: a command or an address, expected the name of a file. {_SAVE}")


def _shown(value: Any) -> str:
    return repr(value if len(str(value)) <= 80 else str(value)[:80] + "...")
