"""Bars and log lines are seen in a notebook, whose standard error is no terminal, and only there."""

from __future__ import annotations

import subprocess
import sys

import pytest

KERNEL = """
import sys, types
ipython = types.ModuleType("IPython")
shell = types.SimpleNamespace(config={{"IPKernelApp": {{}}}}) if {kernel} else None
ipython.get_ipython = lambda: shell
ipython.version_info = (8, 0)
sys.modules["IPython"] = ipython
import logging
if {configured}:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
from asr_distill.base import track
list(track(range(3), "counting"))
"""


@pytest.mark.parametrize(
    ("kernel", "configured", "lines", "bar"),
    [(True, False, 1, True), (True, True, 1, True), (False, True, 1, False), (False, False, 0, False)],
)
def test_seen_once_where_people_look(kernel: bool, configured: bool, lines: int, bar: bool) -> None:
    code = KERNEL.format(kernel=kernel, configured=configured)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("counting: 3 it in") == lines
    assert ("counting:   0%" in done.stderr) == bar
