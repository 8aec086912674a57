"""Runs every command of the small world where less and less room is left, and prints as JSON what went wrong.

A program of its own, for the reason that `run_kills` gives. Its argument is a small file system.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import kills
import world
from run_kills import Harness, normal, normal_or_broken

_ROOM = (0, 4096, 12288, 40960, 131072)  # bytes left before a command begins


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("disk", type=Path)
    args = parser.parse_args()
    import torch

    from asr_distill.base import disk

    torch.set_num_threads(1)
    folder, log = args.disk / "world", Path(os.environ["ASR_DISTILL_TEST_LOG"])
    states = Path(tempfile.mkdtemp(dir=log.parent))
    folder.mkdir()
    world.write_corpus(folder)
    os.chdir(folder)
    harness, full, wrong = Harness(folder, 0), 0, []

    def unaware() -> None:  # else most commands would be refused before they write anything
        disk.free_bytes = lambda path: 1 << 60  # type: ignore[assignment]

    for step in world.steps():
        if step.name.startswith("classes"):
            break
        before, after = states / "before", states / "after"
        harness.save(step, before)
        status, _ = kills.run_forked(harness.command(step))
        if status:
            raise SystemExit(f"{' '.join(step.words)}: exit status {status}")
        outputs = [folder / name for name in step.outputs]
        expected = kills.contents(outputs, normal)
        harness.save(step, after)
        for room in _ROOM:
            harness.put(step, before)
            _fill(args.disk / "filler", room)
            log.write_text("")
            status, _ = kills.run_forked(harness.command(step), before=unaware)
            (args.disk / "filler").unlink()
            said, place = log.read_text(), f"{' '.join(step.words)} [{room} bytes]"
            if status == 0:
                break
            full += 1
            if status != 1 or "Traceback" in said or "error: " not in said:
                wrong.append(f"{place}: status {status}: {said[-600:]}")
            elif not any(name in said for name in step.outputs) or not any(text in said for text in ("No space left", "full")):
                wrong.append(f"{place}: {said[-600:]}")
            status, _ = kills.run_forked(harness.command(step))
            found = kills.contents(outputs, normal_or_broken)
            if status or found != expected:
                others = [name for name in {*expected, *found} if expected.get(name, 0) != found.get(name, 0)]
                wrong.append(f"{place}: then status {status}, others: {others[:3]} {log.read_text()[-300:] if status else ''}")
        harness.put(step, after)
        shutil.rmtree(before)
        shutil.rmtree(after)
    print(json.dumps({"full": full, "wrong": wrong}, indent=1))


def _fill(path: Path, room: int) -> None:
    """Leaves ``room`` bytes of the disk free."""
    with open(path, "wb") as stream:
        free = shutil.disk_usage(path.parent).free
        os.posix_fallocate(stream.fileno(), 0, max(1, free - room))


if __name__ == "__main__":
    main()
