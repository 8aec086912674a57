"""Files and folders that are whole or absent, the digests beside them, and what is never replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import (
    DIGESTS_FILE,
    UserError,
    atomic_directory,
    atomic_path,
    check_file,
    check_folder,
    read_json,
    replace,
    write_json,
    write_text,
)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def make(folder: Path, **files: str) -> None:
    with atomic_directory(folder) as temporary:
        for name, text in files.items():
            (temporary / name).write_text(text)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "d"
    for text in ("old", "new"):
        with atomic_directory(target) as temporary:
            (temporary / "mark").write_text("")
            (temporary / text).write_text(text)
    assert {path.name for path in target.iterdir()} == {"mark", "new", DIGESTS_FILE}
    with pytest.raises(RuntimeError), atomic_directory(target) as temporary:
        raise RuntimeError
    assert {path.name for path in tmp_path.rglob("*")} == {"d", "mark", "new", DIGESTS_FILE}


def test_a_folder_of_something_else_and_a_file_are_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "home"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"thesis\.tex.*name another folder"), atomic_directory(mine) as temporary:
        (temporary / "lang.json").write_text("{}")
    with pytest.raises(UserError, match="is a file"), atomic_directory(mine / "thesis.tex"):
        raise AssertionError("refused before any work")
    with pytest.raises(UserError, match="cannot be written"), atomic_directory(mine / "thesis.tex" / "lang"):
        raise AssertionError("refused before any work")
    with pytest.raises(UserError, match="is a folder"), atomic_path(mine):
        raise AssertionError("refused before any work")
    assert (mine / "thesis.tex").read_text() == "years of work"
    assert {path.name for path in tmp_path.rglob("*")} == {"home", "thesis.tex"}


def test_a_file_that_is_listed_is_written_into_an_unfinished_folder(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "d") as folder:
        write_json(folder / "x.json", 1, listed=True)  # the folder's lock is this process's own
    assert check_folder(tmp_path / "d") == 1


def test_only_a_folder_that_we_wrote_whole_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "graph", words="a")
    make(tmp_path / "graph", words="b")
    (tmp_path / "graph" / "G.fst").write_text("the user's")
    with pytest.raises(UserError, match=r"did not write \(G\.fst\)"):
        make(tmp_path / "graph", words="c")
    kaldi = tmp_path / "lang"
    (kaldi / "phones").mkdir(parents=True)
    for name in ("words.txt", "topo", "phones/silence.txt"):
        (kaldi / name).write_text(name)
    with pytest.raises(UserError, match=r"phones/silence\.txt"):
        make(kaldi, **{"words.txt": "ours"})
    assert (kaldi / "words.txt").read_text() == "words.txt"
    assert (tmp_path / "graph" / "words").read_text() == "b"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_link_of_the_users_is_no_file_of_ours(tmp_path: Path) -> None:
    make(tmp_path / "graph", words="a")
    (tmp_path / "graph" / "elsewhere").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(UserError, match="elsewhere"):
        make(tmp_path / "graph", words="b")


def test_sha256sum_checks_the_list(tmp_path: Path) -> None:
    make(tmp_path / "d", one="1", **{"two words": "2"})
    command = ["sha256sum", "-c", "--strict", DIGESTS_FILE]
    try:
        assert subprocess.run(command, cwd=tmp_path / "d", capture_output=True, check=False).returncode == 0
        (tmp_path / "d" / "one").write_text("2")
        assert subprocess.run(command, cwd=tmp_path / "d", capture_output=True, check=False).returncode == 1
    except FileNotFoundError:
        pytest.skip("no sha256sum here")


@given(st.binary(min_size=1, max_size=64), st.integers(0), st.sampled_from(("flip", "cut", "empty", "missing")))
def test_no_damage_passes(tmp_path_factory: pytest.TempPathFactory, data: bytes, place: int, kind: str) -> None:
    folder = tmp_path_factory.mktemp("damage") / "d"
    with atomic_directory(folder) as temporary:
        (temporary / "x").write_bytes(data)
    assert check_folder(folder) == 1
    target = folder / "x"
    if kind == "flip":
        bit = place % (8 * len(data))
        target.write_bytes(bytes(byte ^ ((1 << bit % 8) if index == bit // 8 else 0) for index, byte in enumerate(data)))
    elif kind == "missing":
        target.unlink()
    else:
        target.write_bytes(data[: place % len(data)] if kind == "cut" else b"")
    with pytest.raises(UserError, match=DIGESTS_FILE.replace(".", "[.]")):
        check_file(target)
    with pytest.raises(UserError, match="x is"):
        check_folder(folder)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"# another first line\n"])
def test_a_damaged_list_is_not_believed(tmp_path: Path, damage: bytes) -> None:
    make(tmp_path / "d", one="1")
    whole = (tmp_path / "d" / DIGESTS_FILE).read_bytes()
    (tmp_path / "d" / DIGESTS_FILE).write_bytes(damage)
    for act in (lambda: check_file(tmp_path / "d" / "one"), lambda: make(tmp_path / "d", one="2")):
        with pytest.raises(UserError, match=r"damaged|did not write"):
            act()
    (tmp_path / "d" / DIGESTS_FILE).write_bytes(whole[:-3])
    with pytest.raises(UserError, match="last line"):
        check_file(tmp_path / "d" / "one")


def test_one_file_is_listed_with_the_others_and_a_kill_between_leaves_both_digests_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "d" / "config.json"
    write_json(target, {"scale": 1}, listed=True)
    write_text(tmp_path / "d" / "notes", "listed as well, for the folder has a list")
    assert check_folder(tmp_path / "d") == 2

    def killed(*_paths: object) -> None:
        raise KeyboardInterrupt

    for moment in ("before", "after"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            if moment == "before":
                patch.setattr(replace.os, "replace", lambda old, new: killed() if new == target else os.rename(old, new))
            else:
                patch.setattr(replace, "_flush", lambda path: killed() if path == target.parent else None)
            write_json(target, {"scale": 2})
        assert read_json(target) == {"scale": 1 if moment == "before" else 2}
        assert check_folder(tmp_path / "d") == 2


def test_without_an_exchange_a_kill_between_two_renames_is_mended_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replace, "_exchange", lambda *_: False)
    make(tmp_path / "d", one="1")
    make(tmp_path / "d", one="2")
    assert names(tmp_path) == {"d", "d/one", f"d/{DIGESTS_FILE}"}

    real = os.replace

    def killed(old: Path, new: Path) -> None:
        if new == tmp_path / "d":
            raise KeyboardInterrupt
        real(old, new)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(replace.os, "replace", killed)
        make(tmp_path / "d", one="3")
    assert not (tmp_path / "d").exists()
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "d"):
        raise RuntimeError  # a next start that writes nothing
    assert (tmp_path / "d" / "one").read_text() == "2"


def test_an_exchange_leaves_no_moment_without_the_folder(tmp_path: Path) -> None:
    if not replace._exchange(*(Path(tmp_path / name).mkdir() or tmp_path / name for name in "ab")):  # type: ignore[func-returns-value]
        pytest.skip("this file system cannot exchange two folders")
    watcher = "import os, sys\nwhile os.path.exists(sys.argv[1]): pass\nprint('gone', flush=True)"
    make(tmp_path / "d", one="1")
    with subprocess.Popen([sys.executable, "-c", watcher, str(tmp_path / "d")], stdout=subprocess.PIPE) as process:
        for _ in range(50):
            make(tmp_path / "d", one="2")
        process.terminate()
        assert process.communicate()[0] == b""


def test_leftovers_of_killed_processes_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    write = (
        "import sys, time\nfrom asr_distill.base import atomic_directory, atomic_path\n"
        f"with atomic_directory({str(tmp_path / 'd')!r}) as d, atomic_path({str(tmp_path / 'x.jsonl.gz')!r}) as p:\n"
        "    (d / 'half').write_text('')\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    mine = tmp_path / ".asr-distill-notes"
    mine.write_text("another's")
    with subprocess.Popen([sys.executable, "-c", write], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        left = [path for path in tmp_path.iterdir() if path != mine]
        old = time.time() - 3600
        for path in [entry for folder in left for entry in (*folder.rglob("*"), folder)]:
            os.utime(path, (old, old))
        make(tmp_path / "d", one="1")
        write_text(tmp_path / "x.jsonl.gz", "")
        assert len(left) == 2
        assert all(path.exists() for path in left)
        process.kill()
        process.wait()
    make(tmp_path / "d", one="2")
    write_text(tmp_path / "x.jsonl.gz", "")
    assert names(tmp_path) == {"d", "d/one", f"d/{DIGESTS_FILE}", "x.jsonl.gz", mine.name}


def test_a_listed_file_within_a_folder_that_is_written_whole_is_listed_with_the_others(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "d") as folder:
        (folder / "inner").mkdir()
        write_json(folder / "a.json", 1, listed=True)
        write_json(folder / "inner" / "b.json", 2, listed=True)
        assert names(folder) == {"a.json", "inner", "inner/b.json"}
    assert check_folder(tmp_path / "d") == 2
