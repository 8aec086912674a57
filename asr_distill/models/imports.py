"""Networks of the user's own on the command line: files and modules that register them, imported by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from asr_distill.base import UserError

_imported: list[str] = []


def import_networks(sources: Iterable[str]) -> None:
    """Imports Python files (``FILE.py``) and modules (``package.module``), each once; they call `register_network`.

    Raises `UserError` where one is not there or is not Python, or what it registers is refused.
    """
    for source in sources:
        name = str(Path(source).resolve()) if source.endswith(".py") else source
        if name in _imported:
            continue
        try:
            if source.endswith(".py"):
                _execute(Path(name))
            else:
                importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):  # the module is there, what it needs is not
                raise
            raise UserError(
                f"--import {source}: there is no such module on the path of Python; give a FILE.py, or set PYTHONPATH"
            ) from None
        except (ValueError, SyntaxError) as error:
            raise UserError(f"--import {source}: {error}") from None
        _imported.append(name)


def imported_networks() -> tuple[str, ...]:
    """What `import_networks` imported so far, files as absolute paths: for processes that need the same."""
    return tuple(_imported)


def _execute(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"--import {path}: there is no such file; expected Python that calls register_network")
    spec = importlib.util.spec_from_file_location(str(path), path)
    if spec is None or spec.loader is None:
        raise UserError(f"--import {path} cannot be imported; expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[str(path)] = module  # where the annotations of its dataclasses are looked up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[str(path)]
        raise
