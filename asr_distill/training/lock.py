"""One run at a time in an output folder: two at once would each remove the other's checkpoints."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from asr_distill.base import only_process
from asr_distill.training.state import LOCK_FILE, STATE_FOLDER, make_folder


def only_run(out_dir: Path) -> AbstractContextManager[Path]:
    """Makes ``out_dir/training`` and keeps other runs out of it, until the context or the process ends, however it ends.

    Raises `UserError` where another run is at work in ``out_dir``, or nothing can be written there.
    """
    return only_process(out_dir / STATE_FOLDER / LOCK_FILE, f"training in {out_dir}", lambda: make_folder(out_dir))
