"""The examples of the room's reference pages run as they are printed."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["loss", "sparse", "combine"])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"asr_distill.distillation.{name}"))
    assert result.attempted > 3
    assert result.failed == 0
