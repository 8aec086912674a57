"""The made-up run as a fixture; its module lies beside the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's directory."""
    from made_up_run import make_run

    return make_run(tmp_path / "exp")
