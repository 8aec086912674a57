"""``asr-distill once``: runs a command, and leaves it alone where its output is complete for the same words and inputs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLE = (
    "asr-distill once --records exp/an4/.done --writes exp/an4/fbank -- asr-distill features --cuts cuts.jsonl.gz --output"
    " exp/an4/fbank"
)
_PLACES = ("--jobs", "--threads")  # options that say where and how fast, not what


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    add = parser.add_argument
    add("--records", type=Path, required=True, metavar="DIR", help="folder of the records of what was done")
    add(
        *("--writes",),
        type=Path,
        action="append",
        required=True,
        metavar="PATH",
        help="file or folder that the command leaves; may be repeated",
    )
    add("--again", action="store_true", help="run the command also where that was done")
    add(
        "command",
        nargs="+",
        metavar="-- COMMAND",
        help="the command and its words; files among them are known by their content",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command, or say that its work is done."""
    import subprocess
    import time

    from asr_distill.base import UserError, ended_in_order, environment_of_child
    from asr_distill.base.records import compare_record, write_record
    from asr_distill.cli.main import emit

    identity = identity_of_words(args.command, args.writes)
    record = args.records / f"{_inside(args.writes[0], args.records.parent)}.json"
    found = compare_record(record, identity, args.writes)
    if found.state == "done" and not args.again:
        emit(args, {"done_before": True, "writes": [str(path) for path in args.writes]}, f"{_names(args.writes)}: done before")
        return 0
    if found.state in ("changed", "edited") and not args.again:
        listing = "\n".join(f"  {line}" for line in found.differences)
        raise UserError(
            f"{_names(args.writes)} was made with other words or inputs, or was edited:\n{listing}\nNext: the words as they"
            " were, another folder for the run, or --again (of a recipe: --stage N), which makes it anew"
        )
    start = time.monotonic()
    with ended_in_order():
        status = subprocess.run(args.command, env=environment_of_child(), check=False).returncode
    if status:
        return status if status > 0 else 128 - status
    lacking = [str(path) for path in args.writes if not path.exists()]
    if lacking:
        raise UserError(f"{args.command[0]} ended well, but did not write {', '.join(lacking)}; does --writes name its output?")
    write_record(record, identity_of_words(args.command, args.writes), args.writes, time.monotonic() - start)
    return 0


def identity_of_words(words: Sequence[str], writes: Sequence[Path]) -> dict[str, Any]:
    """Return the command's values by option; a path that exists is known by its content, one that is written by its name."""
    from asr_distill.base.records import content_of

    outputs = {path.resolve() for path in writes}
    found: dict[str, Any] = {"command": [Path(words[0]).name]}
    option = "command"
    for word in words[1:]:
        if word.startswith("--"):
            option, equals, word = word.partition("=")
            found.setdefault(option, [])
            if not equals:
                continue
        path = Path(word)
        place = path.resolve()
        if not outputs.isdisjoint([place, *place.parents]) or any(place in output.parents for output in outputs):
            word = path.name
        elif path.exists():
            word = content_of(path)
        found[option].append(word)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items() if name not in _PLACES}


def _inside(path: Path, folder: Path) -> Path:
    """The path within the folder, or its name alone where it is elsewhere."""
    path, folder = path.resolve(), folder.resolve()
    return path.relative_to(folder) if folder in path.parents else Path(path.name)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
