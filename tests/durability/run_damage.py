"""Damages every file of the small world, runs a command that reads it, and prints as JSON where that was believed.

Right is an error for people (exit status 1) or, where the damage concerns nothing that the command uses, the same output to the
bit. Wrong is any other output, a traceback, a crash and a hang. A program of its own, like `run_kills`: its children are forks.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import kills
import world
from run_kills import normal_or_broken

from asr_distill.base import digests
from asr_distill.base.digests import TEMPORARY

KINDS = ("flip", "cut", "empty", "missing")
_HANGS = 60  # seconds
_OURS = {"fbank", "lang", "lm", "g", "mono", "align", "senones", "labels", "frames", "models", "ensemble", "targets", "student"}
_OURS |= {"graph", "decode", "classes"}
_ALIKE = re.compile(r"[0-9a-f]{16,}|/[0-9a-f]/|\d+|(?<=phones/)\w+")  # files that differ in this alone stand for one another


class Harness:
    """The world in the working directory, whole."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.refused: set[str] = set()
        self.aside = folder.parent / "aside"
        self.steps = [_quick(step) for step in world.steps() if step.name not in ("report", "classes data", "classes plan")]
        self.expected: dict[world.Step, dict[str, Any]] = {}

    def files(self) -> list[list[Path]]:
        """The files to damage, those that are alike together."""
        alike: dict[str, list[Path]] = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and name.split("/")[0] in _OURS and not path.name.startswith(TEMPORARY):
                alike.setdefault(_ALIKE.sub("#", name), []).append(path)
        return list(alike.values())

    def consumers(self, path: Path) -> list[world.Step]:
        """The commands with an input in the same place as the file."""
        place = path.relative_to(self.folder).parts[0]
        steps = []
        for step in self.steps:
            written = any(output == path or output in path.parents for output in self._removed(step))
            inputs = {word.split("/")[0] for option, word in itertools.pairwise(["", *step.words]) if option != "--output"}
            if not written and (place in inputs or (place == "classes" and step.name == "classes predict")):
                steps.append(step)
        return steps

    def _removed(self, step: world.Step) -> list[Path]:
        """Its outputs, where they hold none of its inputs."""
        names = {"classes predict": ("classes/predictions",), "score": ()}.get(step.name, step.outputs)
        return [self.folder / name for name in names]

    @contextlib.contextmanager
    def outputs_apart(self, step: world.Step) -> Iterator[list[Path]]:
        """The outputs are gone inside, for the command to write, and back afterwards."""
        outputs = [self.folder / name for name in step.outputs]
        shutil.rmtree(self.aside, ignore_errors=True)
        self.aside.mkdir()
        for number, output in enumerate(outputs):
            if output.is_dir():
                shutil.copytree(output, self.aside / str(number))
            else:
                shutil.copy2(output, self.aside / str(number))
        for output in self._removed(step):
            _remove(output)
        try:
            yield outputs
        finally:
            for number, output in enumerate(outputs):
                _remove(output)
                shutil.move(self.aside / str(number), output)

    def run(self, step: world.Step) -> str:
        """One run in this process: "refused", "done", or what is wrong."""
        from asr_distill.cli.main import main

        digests._found.clear()
        digests._parsed.cache_clear()
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            try:
                signal.alarm(_HANGS)
                status = main([*step.words, "--quiet"])
            except BaseException:
                return "traceback: " + traceback.format_exc()[-600:]
            finally:
                signal.alarm(0)
        if status == 1 and " error: " in errors.getvalue():
            return "refused"
        return "done" if status == 0 else f"exit status {status}: {errors.getvalue()[-300:]}"

    def expect(self, step: world.Step) -> None:
        """Notes what the command writes where nothing is damaged."""
        with self.outputs_apart(step) as outputs:
            status, outcomes = _in_child(lambda: [self.run(step)])
            if outcomes != ["done"]:
                raise SystemExit(f"{' '.join(step.words)}: {status} {outcomes}")
            self.expected[step] = kills.contents(outputs, normal_or_broken)

    def reads(self, step: world.Step, path: Path) -> bool:
        """Whether the command refuses the file where it is empty."""
        whole = path.read_bytes()
        path.write_bytes(b"")
        with self.outputs_apart(step):
            _, outcomes = _in_child(lambda: [self.run(step)])
        path.write_bytes(whole)
        return outcomes == ["refused"]

    def damage(self, path: Path, step: world.Step, kinds: list[str]) -> None:
        """Damages a file so often and runs the command each time, all in one child."""
        if step not in self.expected:
            self.expect(step)
        seed = self.random.random()

        def trials() -> list[str]:
            outcomes = []
            whole, chance = path.read_bytes(), random.Random(seed)
            for kind in kinds:
                with self.outputs_apart(step) as outputs:
                    where = _damage(path, whole, kind, chance)
                    outcome = self.run(step)
                    if outcome == "done":
                        within = any(output in path.parents for output in outputs)
                        found = kills.contents(outputs, normal_or_broken)
                        differing = [name for name, data in self.expected[step].items() if found.get(name, 0) != data]
                        differing = [name for name in differing if not (within and name == str(path))]
                        outcome = f"believed: {', '.join(differing[:3])}" if differing else "the same"
                path.write_bytes(whole)
                outcomes.append(outcome if outcome in ("refused", "the same") else f"{kind} {where}: {outcome}")
            return outcomes

        whole = path.read_bytes()
        status, outcomes = _in_child(trials)
        path.write_bytes(whole)
        if status:
            outcomes.append(f"exit status {status}")
        name = path.relative_to(self.folder)
        for outcome in outcomes:
            known = outcome in ("refused", "the same")
            if outcome == "refused":
                self.refused.add(str(name))
            self.counts[outcome if known else "wrong"] += 1
            if not known:
                self.wrong.append(f"{name}, {' '.join(step.words[:2])}: {outcome}")


def _quick(step: world.Step) -> world.Step:
    changes = {"epochs=3": "epochs=1", "checkpoint_minutes=0": "checkpoint_minutes=60"}
    return dataclasses.replace(step, words=tuple(changes.get(word, word) for word in step.words))


def _damage(path: Path, whole: bytes, kind: str, chance: random.Random) -> int:
    if kind == "missing":
        path.unlink()
        return 0
    if not whole:
        path.write_bytes(b"x")
        return 0
    place = chance.randrange(8 * len(whole)) if kind == "flip" else chance.randrange(len(whole))
    if kind == "flip":
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
    else:
        path.write_bytes(whole[:place] if kind == "cut" else b"")
    return place


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _in_child(action: Any) -> tuple[int, list[str]]:
    """The exit status of a fork of this process, and the outcomes that it came to."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        outcomes = action()
        with os.fdopen(write, "w") as stream:
            json.dump(outcomes, stream)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), json.loads(answer or "[]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flips", type=int, default=1, help="of each file, besides one of each other kind")
    parser.add_argument("--consumers", type=int, default=1, help="commands that are tried on each file, drawn by chance")
    parser.add_argument("--seek", action="store_true", help="commands that refuse the file when it is empty")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a pattern of the files to damage")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    folder = (args.folder / "world").resolve()
    folder.mkdir(parents=True)
    world.write_corpus(folder)
    world.write_omniglot(folder)
    os.environ["OMNIGLOT_DIR"] = str(folder)
    os.chdir(folder)
    harness = Harness(folder, args.seed)
    for step in map(_quick, world.steps()):
        status, outcomes = _in_child(lambda step=step: [harness.run(step)])
        if outcomes != ["done"]:
            raise SystemExit(f"{' '.join(step.words)}: {status} {outcomes}")
    kinds = ["flip"] * args.flips + list(KINDS[1:])
    groups = [group for group in harness.files() if any(re.search(args.only, str(path.relative_to(folder))) for path in group)]
    tried = [harness.random.choice(group) for group in groups]
    for path in tried:
        steps = harness.consumers(path)
        steps = harness.random.sample(steps, len(steps))
        if args.seek:
            steps = [*(step for step in steps if harness.reads(step, path)), *steps]
        for step in steps[: args.consumers]:
            harness.damage(path, step, kinds)
    unused = [str(path.relative_to(folder)) for path in tried if str(path.relative_to(folder)) not in harness.refused]
    found = {"files": len(groups), "outcomes": dict(harness.counts), "wrong": harness.wrong, "never refused": unused}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
