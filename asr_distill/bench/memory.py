"""Peak memory of one piece of work, in a process of its own so that nothing else has left its mark."""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from asr_distill.base import UserError

# name -> module and function; the function gets the settings, prepares, and returns the work to be done.
CASES = {
    "train_loop": "asr_distill.bench.training:loop_alone",
    "train_resident": "asr_distill.bench.training:resident_alone",
    "train_matmul": "asr_distill.bench.training:products_alone",
    "features_ours": "asr_distill.bench.features:ours_alone",
    "features_native": "asr_distill.bench.features:native_alone",
    "search": "asr_distill.bench.search:engine_alone",
    "specialists": "asr_distill.bench.specialists:specialists_alone",
}


def peak_memory(case: str, settings: dict[str, Any]) -> dict[str, float]:
    """Runs a case of `CASES` in a child process: ``peak_mb`` and, of it, ``imported_mb`` that the imports alone took (MiB).

    Raises `UserError` with the child's last words where it fails.
    """
    command = [sys.executable, "-m", "asr_distill.bench.memory", case, json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"bench: the memory of {case} could not be measured: {' '.join(done.stderr.split()[-40:])}")
    return json.loads(done.stdout.splitlines()[-1])


def high_water_mark() -> float:
    """The largest resident set of this process so far, MiB."""
    # getrusage's figure is inherited: it can be that of the larger process that started this one.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1024**2)


def main(case: str, settings: str) -> None:
    """The child's side: prints one JSON object."""
    module, function = CASES[case].split(":")
    prepare = getattr(importlib.import_module(module), function)
    imported = high_water_mark()
    prepare(**json.loads(settings))
    print(json.dumps({"peak_mb": round(high_water_mark(), 1), "imported_mb": round(imported, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
