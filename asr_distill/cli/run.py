"""``asr-distill run``: make the systems of a ``systems.yaml``, and report what they are worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_distill.cli.runs import executor_of, parse_seeds

if TYPE_CHECKING:
    from asr_distill.experiments.runner import Runner

EXAMPLE = (
    "asr-distill run recipes/demo/systems.yaml --exp exp/demo-small --dry-run\n"
    "         asr-distill run recipes/demo/systems.yaml --exp exp/demo-small --only distilled,control --seeds 0 --jobs 2"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    add = parser.add_argument
    add("table", type=Path, metavar="FILE", help="systems.yaml: each network, ensemble and store is an entry")
    add("--exp", type=Path, required=True, metavar="DIR", help="folder of the run, where the recipe's stages left the data")
    add("--only", metavar="NAMES", help="entries and tables to make, with what they read (default: what the file says)")
    add("--seeds", metavar="LIST", help="only these seeds of every network, such as 0 or 0-4")
    add("--redo", default="", metavar="NAMES", help="entries whose changed steps are made again; what was there is moved aside")
    add("--dry-run", action="store_true", help="only say what would be made, why, and about how long it takes")
    add("--jobs", type=int, default=1, metavar="N", help="steps at a time, each in a process")
    add("--threads", type=int, default=1, metavar="N", help="CPU threads of each step (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Make what is not made yet."""
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.experiments.reading import read_table
    from asr_distill.experiments.runner import Runner, complaints
    from asr_distill.experiments.steps import Steps

    table = read_table(args.table)
    names = table.wanted(_words(args.only))
    seeds = None if args.seeds is None else parse_seeds(args.seeds)
    runner = Runner(args.exp, Steps(table, args.exp, args.threads, seeds).of(names), _words(args.redo))
    if args.dry_run:
        rows = _plan(runner, names)
        emit(args, {"entries": rows}, _plan_as_text(rows))
        return 0
    outcome = runner.make(executor_of(args, len(runner.steps)))
    if complaint := complaints(outcome, runner.redo):
        raise UserError(complaint)
    emit(
        args,
        {"exp": str(args.exp), "entries": names, "made": outcome.made},
        f"{args.exp}: {len(names)} entries are complete, {len(outcome.made)} of {len(runner.steps)} steps were made now",
    )
    return 0


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word for word in (text or "").split(",") if word)


def _plan(runner: Runner, names: list[str]) -> list[dict[str, Any]]:
    """A row an entry: its steps by how they stand, what differs, and the estimated seconds of what is to be made."""
    from asr_distill.experiments.estimate import Rates
    from asr_distill.experiments.runner import RECORDS

    standings = runner.standings()
    rates = Rates(runner.run / RECORDS, runner.steps)
    rows = []
    for name in names:
        steps = [step for step in runner.steps if step.entry == name]
        states = [standings[step.name].state for step in steps]
        times = [rates.of(step) for step, state in zip(steps, states, strict=True) if state not in ("done", "changed")]
        why = [f"{step.name}: {line}" for step in steps for line in standings[step.name].why]
        known = [seconds for seconds in times if seconds is not None]
        rows.append(
            {
                "entry": name,
                "steps": len(steps),
                **{state.replace(" ", "_"): states.count(state) for state in ("done", "to do", "again", "waits", "changed")},
                "why": why,
                "seconds": sum(known) if known or not times else None,
                "steps_of_unknown_time": len(times) - len(known),
            }
        )
    return rows


def _plan_as_text(rows: list[dict[str, Any]]) -> str:
    from asr_distill.experiments.estimate import duration

    width = max(len(row["entry"]) for row in rows)
    lines = [f"{'entry':<{width}}  steps  done  to do  changed  about"]
    for row in rows:
        to_do = row["to_do"] + row["again"] + row["waits"]
        about = "-" if row["seconds"] is None else duration(row["seconds"]) if to_do else ""
        more = f" and {row['steps_of_unknown_time']} of unknown time" if row["steps_of_unknown_time"] and about != "-" else ""
        lines.append(
            f"{row['entry']:<{width}} {row['steps']:>6} {row['done']:>5} {to_do:>6} {row['changed']:>8}  {about}{more}"
        )
        lines += [f"  {line}" for line in row["why"]]
    known = [row["seconds"] for row in rows if row["seconds"] is not None]
    return "\n".join([*lines, f"in all about {duration(sum(known))} of what is known, one step at a time"])
