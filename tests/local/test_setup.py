"""local/setup.sh refuses what cannot become an environment before it makes one, and what it installs is what it says."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MINE = "cp{}{}".format(*sys.version_info[:2])


def setup(tmp_path: Path, *words: object, inside: Path = ROOT) -> str:
    """What it says where it fails; nothing is made."""
    command = [
        "bash",
        str(ROOT / "local/setup.sh"),
        "--python",
        sys.executable,
        "--venv",
        str(tmp_path / "venv"),
        *map(str, words),
    ]
    done = subprocess.run(command, cwd=inside, capture_output=True, text=True)
    assert done.returncode in (1, 2), done.stderr
    assert not (tmp_path / "venv").exists()
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def wheel(folder: Path, name: str, metadata: str = "Name: k2\nVersion: 1.24.4\n") -> Path:
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("k2-1.24.4.dist-info/METADATA", metadata)
    return folder / name


NAME = f"k2-1.24.4.dev20250715+cpu.torch2.7.1-{MINE}-{MINE}-manylinux_2_17_x86_64.whl"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (NAME, None, "there is no file"),
        (NAME, b"not a zip", "cannot be read as a wheel"),
        ("k2.whl", b"", "is not named like a wheel"),
        ("k2-1.24.4.tar.gz", b"", "is not named like a wheel"),
        (NAME, "Name: k3\n", "is not a wheel of k2"),
        (NAME.replace(MINE, "cp38"), "Name: k2\n", "is for cp38, the interpreter is Python 3."),
        (NAME.replace(MINE, "py3.8"), "Name: k2\n", "is for py3.8, the interpreter is Python 3."),
        (NAME.replace("+cpu.torch2.7.1", ""), "Name: k2\n", "does not say which torch it was built for; add --torch"),
    ],
)
def test_a_wheel_that_is_none_of_k2_is_refused(tmp_path: Path, name: str, content: str | bytes | None, said: str) -> None:
    if isinstance(content, str):
        wheel(tmp_path, name, content)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    message = setup(tmp_path, "--k2-wheel", name, inside=tmp_path)  # relative to where the user stands
    assert said in message
    assert name in message


def test_a_wheel_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K2_WHEEL", NAME)
    assert f"there is no file {tmp_path / NAME}" in setup(tmp_path, inside=tmp_path)
    assert "is Python unknown" in setup(tmp_path, "--flavour", "torch2", "--python", "/no/such/python")


def test_the_wheel_says_its_torch(tmp_path: Path) -> None:
    def found(path: Path) -> str:
        return subprocess.check_output([sys.executable, str(ROOT / "local/k2_wheel.py"), str(path)], text=True).strip()

    assert found(wheel(tmp_path, NAME)) == "2.7.1"
    assert found(wheel(tmp_path, NAME.replace("cpu.torch2.7.1", "cuda12.6.torch2.6.0"))) == "2.6.0"
    plain = NAME.replace("+cpu.torch2.7.1", "")
    assert found(wheel(tmp_path, plain, "Name: k2\nRequires-Dist: torch==1.13.1\nRequires-Dist: graphviz\n")) == "1.13.1"
    assert found(wheel(tmp_path, plain)) == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--k2-whee", "x"], "unknown option '--k2-whee'"),
        (["--k2-wheel"], "--k2-wheel needs a value"),
        (["--flavour", "k3"], "unknown flavour 'k3'"),
        (["--flavour", "k2", "--k2-wheel", "x.whl"], "give one of them"),
        (["--torch", "2.7.1"], "--torch goes with --k2-wheel"),
        (["--python", "/no/such/python"], "is Python unknown"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, words: list[str], said: str) -> None:
    assert said in setup(tmp_path, *words)


def pins(lock: str) -> set[str]:
    text = (ROOT / "local" / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    assert all("--hash=sha256:" in block for block in blocks)
    return {block.split()[0] for block in blocks}


def test_the_locks_hold_what_each_torch_needs() -> None:
    k2, torch2 = pins("k2.lock"), pins("torch2.lock")
    assert {"numpy==1.26.4", "k2==1.23.4", "torch==1.13.1"} <= k2
    assert not any(re.match("lhotse==(1.32.[1-9]|1.3[3-9])", pin) for pin in k2)  # no sampler beside torch 1.13
    assert not any(re.match("(torch|k2|nvidia.*|triton)==", pin) for pin in torch2)  # a CPU build or a CUDA build
    assert all(pin.startswith("numpy==2") for pin in torch2 if pin.startswith("numpy=="))
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "k2>=" not in declared  # the registry's k2 for Python 3.11 is not the one that pip would choose
    for lock in (k2, torch2):
        for name in re.findall(r'^    "([a-z0-9-]+)[><=]', declared.partition("dependencies = [")[2].partition("]")[0], re.M):
            assert name == "torch" or any(pin.startswith(f"{name}==") for pin in lock), name


def test_pip_is_never_taken_past_what_k2_needs() -> None:
    for script in ROOT.glob("local/*.sh"):
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"(-U|--upgrade)\b.*\bpip\b", text)
    assert "'pip<26.2'" in (ROOT / "local/setup.sh").read_text(encoding="utf-8")
