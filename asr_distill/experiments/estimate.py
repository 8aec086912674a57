"""How long steps will take, from the times of those that are done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from asr_distill.base import UserError, read_json
from asr_distill.experiments.steps import Step


class Rates:
    """Seconds of steps by what they do, from the records of a run.

    Args:
        records: folder of the records.
        steps: all steps of the run.
    """

    def __init__(self, records: Path, steps: Sequence[Step]) -> None:
        self._left = {step.name: step for step in steps}
        self._of_entry: dict[tuple[str, str], list[float]] = {}
        self._of_kind: dict[str, list[float]] = {}
        for step in steps:
            file = records / f"{step.name}.json"
            if file.is_file():
                try:
                    seconds = float(read_json(file)["seconds"])
                except (UserError, KeyError, TypeError, ValueError):
                    continue
                self._add(step, seconds)
                self._left.pop(step.name)

    def _add(self, step: Step, seconds: float) -> None:
        kind = step.name.rsplit("/", 1)[1]
        self._of_entry.setdefault((step.entry, kind), []).append(seconds)
        self._of_kind.setdefault(kind, []).append(seconds)

    def ended(self, step: Step, seconds: float) -> None:
        """Take note of a step that ended."""
        self._add(step, seconds)
        self._left.pop(step.name, None)

    def of(self, step: Step) -> float | None:
        """Return the mean seconds of such steps of the entry, else of all entries; None where none is done."""
        kind = step.name.rsplit("/", 1)[1]
        known = self._of_entry.get((step.entry, kind)) or self._of_kind.get(kind)
        return sum(known) / len(known) if known else None

    def left(self, running: Iterable[str] = ()) -> str:
        """Return a remark on what is left to do: how many steps, and about how long where that is known."""
        others = [step for name, step in self._left.items() if name not in set(running)]
        times = [self.of(step) for step in others]
        known = [seconds for seconds in times if seconds is not None]
        about = f", about {duration(sum(known))} for {len(known)} of them" if known else ""
        return f" ({len(others)} steps left{about})"


def duration(seconds: float) -> str:
    """Return seconds as people say them: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
