"""The wheel and the sdist hold what an installation outside the checkout needs, the configurations that helps name included."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from asr_distill.base import UserError, read_yaml, shipped

ROOT = Path(__file__).resolve().parent.parent
NAMED = re.compile(r"recipes/[\w/.-]+\.yaml")


def named_by_sources() -> list[str]:
    """The configurations that help texts, examples and messages of the package name."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "asr_distill").rglob("*.py"))
    return sorted(set(NAMED.findall(text)))


def test_configurations_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(named_by_sources()) > 5
    for name in named_by_sources():
        assert read_yaml(name), name
    with pytest.raises(UserError, match=r"recipes/conf/none\.yaml does not exist"):
        read_yaml("recipes/conf/none.yaml")
    own = tmp_path / "recipes" / "conf" / "cpu.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("own: 1\n")
    assert read_yaml("recipes/conf/cpu.yaml") == {"own": 1}  # what lies where the user stands goes before
    for path in ("recipes/../pyproject.toml", "other/conf/cpu.yaml", "/recipes/conf/paper.yaml"):
        assert shipped(path) == Path(path)


def test_module_and_typing() -> None:
    done = subprocess.run([sys.executable, "-m", "asr_distill", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout[:12]) == (0, "asr-distill ")
    assert (ROOT / "asr_distill" / "py.typed").is_file()
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "9. Accepting Warranty or Additional Liability" in licence


def build(kind: str, source: Path, folder: Path) -> Path:
    """Builds a ``wheel`` or an ``sdist`` without the network; the file."""
    folder.mkdir()
    code = f"import sys\nfrom setuptools import build_meta\nbuild_meta.build_{kind}(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = folder.iterdir()
    return found


@pytest.mark.slow
def test_an_installed_wheel_finds_what_its_helps_name(tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    tracked = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
    for name in tracked:
        if not name.endswith((".jsonl", ".png")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    sdist = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert {"LICENSE", "README.md", "recipes", "local", "docs", "tests"} <= {path.name for path in unpacked.iterdir()}
    for number, folder in enumerate((source, unpacked)):
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path / f"w{number}"),
            ".",
        ]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    first, second = (next((tmp_path / f"w{number}").glob("*.whl")) for number in (0, 1))
    names = set(zipfile.ZipFile(first).namelist())
    assert names == set(zipfile.ZipFile(second).namelist())
    assert {f"asr_distill/{name}" for name in named_by_sources()} | {"asr_distill/py.typed"} <= names
    assert any(name.endswith("/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "local", "recipes")) or name.endswith((".jsonl", ".png")) for name in names)

    installed = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(installed), str(first)]
    subprocess.run(install, check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import asr_distill; print(asr_distill.__file__)").startswith(str(installed))
    commands = re.findall(r"^    ([a-z-]+) ", run("-m", "asr_distill", "--help"), re.MULTILINE)
    helps = {name: run("-m", "asr_distill", name, "--help") for name in commands}
    configured = {path for text in helps.values() for path in NAMED.findall(text)}
    assert len(configured) > 3
    reads = "import sys\nfrom asr_distill.base import read_yaml\nassert all(map(read_yaml, sys.argv[1:]))"
    run("-c", reads, *configured, *named_by_sources())
    run("-m", "asr_distill", "mnist", "estimate", "--config", "recipes/mnist/conf/full.yaml", "--run", "run")
    run("-m", "asr_distill", "bench", "features", "--config", "recipes/bench/conf/tiny.yaml", "--output", "bench.json")
    assert (installed / "bin" / "asr-distill").is_file()
