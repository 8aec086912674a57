"""Jobs that only put together what others have found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_json, write_json
from asr_distill.experiments.sweep import choose


@dataclass(frozen=True)
class SweepJob:
    """The best point of a sweep by dev frame accuracy.

    Args:
        students: the bundles of all points and seeds.
        output: sweep.json to write, in the folder over the points.
    """

    students: tuple[Path, ...]
    output: Path

    def run(self) -> dict[str, Any]:
        """Write the points' accuracies and the best of them."""
        rows = []
        for student in self.students:
            summary = read_json(student / "completed.json")["summary"]
            objective = summary["objective"]
            rows.append({**summary, **{name: objective[name] for name in ("temperature", "hard_weight")}})
        sweep = choose(self.output.parent, rows)
        write_json(self.output, sweep, listed=True)
        return sweep


@dataclass(frozen=True)
class ScaleJob:
    """The acoustic scale that decoding dev has chosen, written into the bundle.

    Args:
        model: the bundle.
        tuned: tuned.json of the decode.
    """

    model: Path
    tuned: Path

    def run(self) -> dict[str, Any]:
        """Write the scale."""
        from asr_distill.student import set_acoustic_scale

        scale = read_json(self.tuned).get("acoustic_scale")
        if not isinstance(scale, (int, float)):
            raise UserError(f"{self.tuned} has no acoustic_scale; give the tuned.json of a decode with --scale-grid")
        set_acoustic_scale(self.model, float(scale))
        return {"model": str(self.model), "acoustic_scale": scale}
