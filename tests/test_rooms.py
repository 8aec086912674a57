"""The rooms stand in one order; a room imports only rooms listed before it, and nothing imports the command line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "asr_distill"
ROOMS = (
    "base features lang senones data models graph decoding alignment distillation sequence training specialists images"
    " student interchange scoring report experiments export bench cli"
).split()


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports, at any depth (an import inside a function counts)."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}, line {node.lineno}: relative import; write the room's full name")
        rooms |= {name.split(".")[1] for name in names if name.startswith("asr_distill.")}
    return rooms & set(ROOMS)


def violations(path: Path, room: str) -> list[str]:
    """Rooms that `path`, a file of `room`, must not import."""
    return sorted(other for other in imported_rooms(path) if ROOMS.index(other) > ROOMS.index(room))


FILES = sorted(PACKAGE.glob("*/**/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    assert room in ROOMS, f"{room} is not a room of the design; add it to the list where it belongs"
    assert not violations(path, room)


def test_a_wrong_import_is_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from asr_distill.training import loop\n", encoding="utf-8")
    assert violations(wrong, "features") == ["training"]
    assert violations(wrong, "cli") == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_read_in_one_sitting(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{lines} lines; about 300 is the aim, split the file by idea"
