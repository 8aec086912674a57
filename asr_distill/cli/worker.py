"""``asr-distill worker``: runs one job that another command describes on standard input, and prints its result as JSON."""

from __future__ import annotations

import argparse
import sys

EXAMPLE = "asr-distill train --jobs 2 ..., which begins two of them"


def configure(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> int:
    """Run the job that standard input describes (`asr_distill.base.executor.describe_job`)."""
    from asr_distill.base import json_line
    from asr_distill.base.executor import run_described

    print(json_line(run_described(sys.stdin.read())))
    return 0
