"""What recipes share (recipes/begin.sh): options are variables, mistakes are one line before any work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/run.sh") if "begin.sh" in path.read_text())


def run(recipe: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", f"recipes/{recipe}/run.sh", *options], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_lists_every_variable_with_its_default(recipe: str) -> None:
    shown = run(recipe, "--help")
    assert shown.returncode == 0
    for option in ("--stage 1", "--stop-stage 100", "--exp", "--jobs 2", "--only"):
        assert f"  {option} " in shown.stdout
    assert "--stages-asked" not in shown.stdout
    assert all(len(line.split(maxsplit=2)) > 2 for line in shown.stdout.splitlines() if line.startswith("  --"))  # explained


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sise", "tiny"), "unknown option --sise; bash recipes/{recipe}/run.sh --help lists them"),
        (("--venv", "x"), "unknown option --venv"),
        (("--stage",), "--stage needs a value"),
        (("tiny",), "unexpected argument 'tiny'"),
        (("--stage", "two"), "--stage 'two': expected the number of a stage"),
        (("--stage", "7", "--stop-stage", "5"), "--stage 7 --stop-stage 5: the first stage is after the last"),
    ],
)
def test_mistakes_are_one_line(recipe: str, options: tuple[str, ...], message: str) -> None:
    done = run(recipe, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {message.format(recipe=recipe)}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_short(recipe: str) -> None:
    assert len((ROOT / "recipes" / recipe / "run.sh").read_text().splitlines()) <= 90
    assert len((ROOT / "recipes" / "begin.sh").read_text().splitlines()) < 60
