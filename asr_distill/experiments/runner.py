"""Make the entries of a table: what is complete by content is left alone, what changed is named, the rest runs in order."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr_distill.base import UserError
from asr_distill.base.executor import Executor, Job, JobFailed
from asr_distill.base.records import compare_record, write_record
from asr_distill.experiments.estimate import Rates
from asr_distill.experiments.identity import identity_of
from asr_distill.experiments.steps import Step

RECORDS, REPLACED = ".done", ".replaced"
_log = logging.getLogger("asr_distill")

State = Literal["done", "to do", "again", "changed", "waits"]


@dataclass
class Standing:
    """How a step stands before the run.

    state: ``done``; ``to do``: not made yet, or its output is lost; ``again``: changed, and asked to be made again;
        ``changed``: made with other options or inputs, and not asked for; ``waits``: something that it reads is not made yet.
    why: what differs, a line each.
    identity: what decides the result, where that is known.
    """

    state: State
    why: tuple[str, ...] = ()
    identity: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a run did, by the names of steps."""

    made: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    changed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)


class Runner:
    """Knows which steps are complete in a run, and makes the others.

    Args:
        run: folder of the run.
        steps: in an order in which each stands behind those it needs.
        redo: entries whose changed steps are made again; what they replace is moved to ``.replaced/`` in the run.
    """

    def __init__(self, run: Path, steps: Sequence[Step], redo: Collection[str] = ()) -> None:
        self.run, self.steps, self.redo = run, steps, redo
        known = {step.name for step in steps}
        for step in steps:
            if lacking := [name for name in step.needs if name not in known]:
                raise UserError(
                    f"{step.name} needs {lacking[0]}, which no entry makes; does {lacking[0].split('/')[0]} search it?"
                )
        if odd := sorted(set(redo) - {step.entry for step in steps}):
            raise UserError(f"--redo {odd[0]}: it is not among the entries that are made here")

    def record(self, step: Step) -> Path:
        """Return the file that says what made a step's output."""
        return self.run / RECORDS / f"{step.name}.json"

    def standings(self) -> dict[str, Standing]:
        """Tell how every step stands; nothing is made. A step whose inputs are still to be made waits."""
        found: dict[str, Standing] = {}
        for step in self.steps:
            waits = any(found[name].state != "done" for name in step.needs)
            found[step.name] = Standing("waits") if waits else self._standing(step, step.make())
        return found

    def _standing(self, step: Step, job: Job) -> Standing:
        identity = identity_of(job)
        found = compare_record(self.record(step), identity, step.outputs)
        if found.state == "done":
            return Standing("done")
        if found.state in ("missing", "lost"):
            return Standing("to do", found.differences, identity)
        return Standing("again" if step.entry in self.redo else "changed", found.differences, identity)

    def make(self, executor: Executor) -> Outcome:
        """Make what is to be made, as many steps at a time as the executor has places.

        A step that fails or has changed holds back those that need it; all others are made.
        """
        outcome, rates = Outcome(), Rates(self.run / RECORDS, self.steps)
        waiting, complete = list(self.steps), set[str]()
        running: dict[Future[dict[str, Any]], tuple[Step, Standing, float]] = {}
        with executor:
            while waiting or running:
                for step in list(waiting):
                    if any(self._is_out(name, outcome) for name in step.needs):
                        waiting.remove(step)
                        outcome.held.append(step.name)
                    elif len(running) < executor.places and complete.issuperset(step.needs):
                        waiting.remove(step)
                        job = step.make()
                        standing = self._standing(step, job)
                        if standing.state == "done":
                            complete.add(step.name)
                        elif standing.state == "changed":
                            outcome.changed[step.name] = standing.why
                        else:
                            self._begin(step, job, standing, executor, running, rates)
                if running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        step, standing, start = running.pop(future)
                        self._end(future, step, standing.identity, time.monotonic() - start, outcome, complete)
                        rates.ended(step, time.monotonic() - start)
        return outcome

    def _is_out(self, name: str, outcome: Outcome) -> bool:
        return name in outcome.failed or name in outcome.changed or name in outcome.held

    def _begin(
        self,
        step: Step,
        job: Job,
        standing: Standing,
        executor: Executor,
        running: dict[Future[dict[str, Any]], tuple[Step, Standing, float]],
        rates: Rates,
    ) -> None:
        if standing.state == "again":
            self._move_away(step)
        _log.info("%s: begins%s", step.name, rates.left(running[one][0].name for one in running))
        start = time.monotonic()
        try:
            running[executor.submit(job)] = (step, standing, start)
        except UserError as error:  # of a job that runs here
            failed: Future[dict[str, Any]] = Future()
            failed.set_exception(error)
            running[failed] = (step, standing, start)

    def _end(
        self,
        future: Future[dict[str, Any]],
        step: Step,
        identity: dict[str, Any],
        seconds: float,
        outcome: Outcome,
        complete: set[str],
    ) -> None:
        try:
            future.result()
        except JobFailed:
            _log.error("%s: failed, see the messages above", step.name)
            outcome.failed.append(step.name)
        except UserError as error:
            _log.error("%s: %s", step.name, error)
            outcome.failed.append(step.name)
        else:
            write_record(self.record(step), identity, step.outputs, seconds)
            complete.add(step.name)
            outcome.made.append(step.name)
            _log.info("%s: done in %.0f s", step.name, seconds)

    def _move_away(self, step: Step) -> None:
        """What a changed step left before is moved aside: a model may have cost hours."""
        for output in step.outputs:
            if output.exists():
                named = self.run / REPLACED / output.relative_to(self.run)
                aside = next(one for n in itertools.count(1) if not (one := named.with_name(f"{named.name}.{n}")).exists())
                aside.parent.mkdir(parents=True, exist_ok=True)
                output.rename(aside)
                _log.info("%s: %s was moved to %s", step.name, output, aside)


def complaints(outcome: Outcome, redo: Iterable[str] = ()) -> str | None:
    """Return what is to be said of steps that failed or changed, and what to do next; None where there are none."""
    parts = []
    if outcome.failed:
        parts.append(f"failed: {', '.join(outcome.failed)}: see the messages above; run it again to go on")
    if outcome.changed:
        entries = list(dict.fromkeys([*redo, *(name.split("/")[0] for name in outcome.changed)]))
        listing = "\n".join(f"  {name}: {line}" for name, lines in outcome.changed.items() for line in lines)
        parts.append(
            f"made before with other options or inputs, and left as they are:\n{listing}\nNext: the options as they were,"
            f" another --exp, or --redo {','.join(entries)}, which makes them again and moves what was there to {REPLACED}/"
        )
    if parts and outcome.held:
        parts.append(f"{len(outcome.held)} more wait for these")
    return "\n".join(parts) or None
