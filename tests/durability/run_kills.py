"""Kills every command of the small world, runs it again, and prints as JSON what came out other than without a kill.

A program of its own: its children are forks, and a process whose arithmetic libraries have begun threads must not be forked.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import kills
import world

from asr_distill.base import DIGESTS_FILE, replace

_TIMES = re.compile(r"second|rtf|real_time|date|per_second|load|memory")  # keys of figures that no two runs share
_MEASURED = (".json", ".csv", ".md", ".html")  # files that may hold such figures


def normal(path: Path, data: bytes) -> bytes:
    """The file without figures that no two runs share."""
    if path.name == DIGESTS_FILE:
        return b"\n".join(line for line in data.split(b"\n") if not line.endswith(tuple(end.encode() for end in _MEASURED)))
    if path.suffix == ".json":
        return json.dumps(_without_times(json.loads(data))).encode()
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(data.decode()))
        return json.dumps([_without_times(row) for row in rows]).encode()
    if path.suffix in (".md", ".html"):
        return re.sub(rb"[0-9.]+ s\b|0\.0[0-9]+|[0-9-]{10}|data:image[^\"]*", b"", data)
    return data


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if not _TIMES.search(key)}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def _no_grace() -> None:
    replace._SURE = -1.0  # what a process leaves that is no more is removed at once, and not a minute later


class Harness:
    """The world in ``folder``, which is the working directory."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def command(self, step: world.Step) -> Any:
        from asr_distill.cli.main import main

        return lambda: main([*step.words, "--quiet"])

    def put(self, step: world.Step, state: Path) -> None:
        """Makes the step's outputs what they are in ``state``."""
        for name in step.outputs:
            there, saved = self.folder / name, state / name
            if there.is_dir():
                shutil.rmtree(there)
            else:
                there.unlink(missing_ok=True)
            if saved.is_dir():
                shutil.copytree(saved, there)
            elif saved.exists():
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(saved, there)

    def save(self, step: world.Step, state: Path) -> None:
        for name in step.outputs:
            there, saved = self.folder / name, state / name
            saved.parent.mkdir(parents=True, exist_ok=True)
            if there.is_dir():
                shutil.copytree(there, saved)
            elif there.exists():
                shutil.copy2(there, saved)

    def kill(self, step: world.Step, kills_wanted: int, by_time: int) -> None:
        """Runs a step unbroken, and then again and again with a kill."""
        before, after = (self.folder.parent / "states" / str(len(self.counts)) / name for name in ("before", "after"))
        shutil.rmtree(before.parent, ignore_errors=True)
        before.mkdir(parents=True)
        after.mkdir()
        outputs = [self.folder / name for name in step.outputs]
        self.save(step, before)
        start = time.monotonic()
        status, count = kills.run_forked(self.command(step))
        seconds = time.monotonic() - start
        self.save(step, after)
        if status:
            raise SystemExit(f"{' '.join(step.words)}: exit status {status}")
        expected = kills.contents(outputs, normal)
        points: list[tuple[str, Any]] = [("kill_at", n) for n in range(1, count + 1)]
        if len(points) > kills_wanted:
            points = self.random.sample(points, kills_wanted)
        points += [("kill_after", seconds * self.random.random()) for _ in range(by_time)]
        for how, when in points:
            for state in ("before", "after"):
                self.put(step, before if state == "before" else after)
                status, _ = kills.run_forked(self.command(step), **{how: when})
                place = f"{' '.join(step.words)} [{how} {when}, {state}]"
                self.counts[step.name] += 1
                if state == "after":
                    self.check_whole(place, expected, kills.contents(outputs, normal_or_broken))
                status, _ = kills.run_forked(self.command(step), before=_no_grace)
                if status:
                    self.wrong.append(f"{place}: run again, exit status {status}")
                else:
                    self.compare(place, expected, kills.contents(outputs, normal_or_broken))
        self.put(step, after)
        shutil.rmtree(before.parent)

    def check_whole(self, place: str, expected: dict[str, Any], found: dict[str, Any]) -> None:
        """Over a finished output: what is there is whole, at any moment."""
        broken = [name for name in found if name in expected and expected[name] != found[name]]
        broken += [name for name in expected if name not in found]
        if broken:
            self.wrong.append(f"{place}: between, not as before: {', '.join(broken[:3])}")

    def compare(self, place: str, expected: dict[str, Any], found: dict[str, Any]) -> None:
        differing = [name for name in sorted({*expected, *found}) if expected.get(name, 0) != found.get(name, 0)]
        if differing:
            self.wrong.append(f"{place}: in the end others: {', '.join(differing[:3])}")


def normal_or_broken(path: Path, data: bytes) -> bytes:
    """`normal`, or the bytes themselves where they are not what they should be."""
    try:
        return normal(path, data)
    except (ValueError, csv.Error):
        return b"broken " + data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=6, help="operations at which each command is killed, from two states")
    parser.add_argument("--by-time", type=int, default=1, help="kills at random moments, likewise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until", help="name of the last command to run")
    parser.add_argument("--only", nargs="*", help="names of commands")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    folder = args.folder / "world"
    folder.mkdir(parents=True)
    world.write_corpus(folder)
    if args.until is None:
        world.write_omniglot(folder)
    os.environ["OMNIGLOT_DIR"] = str(folder)
    os.chdir(folder)
    harness = Harness(folder, args.seed)
    for step in world.steps():
        chosen = args.only is None or step.name in args.only
        harness.kill(step, args.kills if chosen else 0, args.by_time if chosen else 0)
        if step.name == args.until:
            break
    print(json.dumps({"kills": dict(harness.counts), "wrong": harness.wrong}, indent=1))


if __name__ == "__main__":
    main()
