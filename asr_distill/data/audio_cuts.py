"""Audio files that no manifest describes, as lhotse cuts without transcripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lhotse import SupervisionSegment
from lhotse.utils import fastcopy

from asr_distill.base import UserError
from asr_distill.features.audio import pick_channel, recording_of


def cuts_of_audio(
    paths: Iterable[str | Path],
    channel: int | None = None,
    on_bad: Callable[[str, UserError], None] | None = None,
    speakers: Callable[[str], str | None] = lambda _: None,
) -> list[Any]:
    """One cut over the whole of each file, in their order; its id is the file's name without suffix, white space as ``_``.

    channel: of recordings with several. on_bad: is told of a file that cannot be read, which is left out. speakers: the speaker
    of a cut by its id; a cut with one has a supervision without text. Raises
    `UserError` for a file that is missing, empty, not audio or without the channel, and for two that would have the same id.
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
        try:
            cut = pick_channel(recording_of(path, key).to_cut(), channel)
        except UserError as error:
            if on_bad is None:
                raise
            on_bad(str(path), error)
            continue
        speaker = speakers(key)
        if speaker is not None:
            cut.supervisions = [SupervisionSegment(key, cut.recording_id, 0.0, cut.duration, cut.channel, speaker=speaker)]
        cuts[key] = fastcopy(cut, id=key)
    return list(cuts.values())
