"""Audio files that no manifest describes, as lhotse cuts without supervisions: what nobody has transcribed yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lhotse import Recording

from asr_distill.base import UserError
from asr_distill.features.audio import pick_channel


def cuts_of_audio(paths: Iterable[str | Path], channel: int | None = None) -> list[Any]:
    """One cut over the whole of each file, in their order; its id is the file's name without suffix, white space as ``_``.

    channel: of recordings with several. Raises `UserError` for a file that is missing, empty, of a format that lhotse cannot
    read, without the channel, and for two files that would have the same id; nothing but headers is read.
    """
    cuts: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for path in map(Path, paths):
        key = re.sub(r"\s+", "_", path.stem)  # trn and ctm have ids without white space
        if key in files:
            raise UserError(
                f"{files[key]} and {path} would both have the id {key!r}; rename one of them, or write a CutSet with ids of"
                " your own and give --cuts"
            )
        files[key] = path
        cuts[key] = pick_channel(_recording(path, key).to_cut(), channel)
        cuts[key].id = key
    return list(cuts.values())


def _recording(path: Path, key: str) -> Recording:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the audio files in it, such as {path}/*.wav")
    if not path.is_file():
        raise UserError(f"{path}: no such audio file; mend the path")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the audio file is empty (0 bytes); replace it or leave it out")
    try:
        return Recording.from_file(path, recording_id=key)
    except Exception as error:  # decoders raise anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{path}: not audio that lhotse can read ({type(error).__name__}: {reason}); give wav, flac, ogg or sphere"
        ) from None
