"""Makes ``large_outputs.py`` and ``store_folders.py`` importable from the tests beside them, whatever the import mode."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
