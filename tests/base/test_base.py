"""Whole-or-absent files, strict configuration, hashes, and the command line's manners."""

from __future__ import annotations

import errno
import importlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from asr_distill.base import (
    UserError,
    atomic_directory,
    from_mapping,
    hash_of_object,
    load_config,
    read_json,
    read_jsonl,
    to_mapping,
    write_json,
    write_jsonl,
)
from asr_distill.base.processor import SWITCH, slow_products, use_fast_products
from asr_distill.cli import doctor
from asr_distill.cli import main as command_line


@dataclass(frozen=True)
class Inner:
    width: int = 2
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    kind: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = ()
    limit: int | None = None


def test_the_current_folder_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with atomic_directory(".") as temporary:
        (temporary / "lang.json").write_text("{}")
    assert (tmp_path / "here" / "lang.json").is_file()


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_jsonl_round_trip_and_the_bad_line_is_named(tmp_path: Path) -> None:
    for name in ("x.jsonl", "x.jsonl.gz"):
        write_jsonl(tmp_path / name, [{"a": "ä"}, [1]])
        assert list(read_jsonl(tmp_path / name)) == [{"a": "ä"}, [1]]
    flags, when = (tmp_path / "x.jsonl.gz").read_bytes()[3], (tmp_path / "x.jsonl.gz").read_bytes()[4:8]
    assert (flags, when) == (0, bytes(4))  # neither the temporary name nor the time
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(UserError, match="line 2"):
        list(read_jsonl(tmp_path / "bad.jsonl"))


def test_files_that_are_cut_short_or_something_else_are_refused_by_name(tmp_path: Path) -> None:
    whole = tmp_path / "x.jsonl.gz"
    write_jsonl(whole, [{"value": index**7} for index in range(2000)])
    (tmp_path / "cut.jsonl.gz").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "flipped.jsonl.gz").write_bytes(whole.read_bytes()[:500] + bytes(64) + whole.read_bytes()[564:])
    (tmp_path / "text.jsonl.gz").write_text("hello")
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)))
    for name in ("cut.jsonl.gz", "flipped.jsonl.gz", "text.jsonl.gz", "binary.jsonl", "."):
        with pytest.raises(UserError, match=str(tmp_path / name)):
            list(read_jsonl(tmp_path / name))
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path)
    for path in (tmp_path, tmp_path / "binary.jsonl"):
        with pytest.raises(UserError, match="cannot be read as text"):
            load_config(Inner, path)


def test_configuration_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("name: x\ninner: {rate: 1e-3}\nsizes: [1, 2]\n")
    config = load_config(Outer, path, {"kind": "b"})
    assert config == Outer("x", Inner(rate=0.001), "b", (1, 2))
    assert from_mapping(Outer, json.loads(json.dumps(to_mapping(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x", "iner": {}}, "unknown key 'iner'.*did you mean 'inner'.*valid keys: inner, kind, limit, name, sizes"),
        ({}, "'name' is missing"),
        ({"name": "x", "kind": "c"}, "kind: found 'c', expected one of a, b"),
        ({"name": "x", "inner": {"width": 1.5}}, "inner: width: found 1.5, expected int"),
        ({"name": "x", "limit": True}, "limit"),
        ({"name": "x", "sizes": 3}, "expected a list"),
    ],
)
def test_configuration_is_strict(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_mapping(Outer, values)


def test_hash_ignores_key_order_only() -> None:
    assert hash_of_object({"a": 1, "b": 2}) == hash_of_object({"b": 2, "a": 1}) != hash_of_object({"a": 1, "b": 3})


@pytest.mark.parametrize("name", command_line.SUBCOMMANDS)
def test_every_subcommand_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        command_line.main([name, "--help"])
    assert stop.value.code == 0
    assert f"example: asr-distill {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        *(("align", action) for action in ("mono", "triphone", "forced", "show", "plot", "compare")),
        *(("graph", action) for action in ("build", "phone-loop", "check")),
        *(("lang", action) for action in ("build", "subwords", "ngram", "g", "ppl")),
        *(("tree", action) for action in ("label", "show")),
    ],
    ids=" ".join,
)
def test_every_actions_example_is_a_line_that_parses(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main([*words, "--help"])
    line = capsys.readouterr().out.split("example: ")[1].splitlines()[0]
    assert line.startswith(f"asr-distill {' '.join(words)} ")
    command_line.build_parser(words[0]).parse_args(line.split()[1:])


def test_examples_name_files_of_the_repository_that_exist() -> None:
    root = Path(__file__).resolve().parents[2]
    for name in command_line.SUBCOMMANDS:
        example = importlib.import_module(f"asr_distill.cli.{name.replace('-', '_')}").EXAMPLE
        for word in example.split():
            if word.startswith("recipes/"):
                assert (root / word).exists(), f"asr-distill {name}: {word}"


def test_a_full_disk_is_one_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "exp/features.npy")

    monkeypatch.setattr("asr_distill.cli.doctor.run", full)
    assert command_line.main(["doctor"]) == 1
    assert capsys.readouterr().err.startswith("asr-distill doctor: error: exp/features.npy: No space left on device")


def test_doctor_searches_with_every_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["doctor", "--json"]) == 0
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)["findings"]}
    assert found["search with kaldi"]["ok"]
    assert "best path -0.80" in found["search with k2"]["found"] or found["k2"]["found"].startswith("not installed")


def test_products_are_fast_on_amd_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    old, amd = (
        "Intel(R) Math Kernel Library Version 2020.0.0 Product Build 20191122",
        "vendor_id : AuthenticAMD\nflags : avx avx2",
    )
    monkeypatch.delenv(SWITCH, raising=False)
    for other in ("vendor_id : GenuineIntel\nflags : avx2", "vendor_id : AuthenticAMD\nflags : avx", ""):
        use_fast_products(other)
        assert SWITCH not in os.environ
        assert not slow_products(old, other)
    assert slow_products(old, amd)
    use_fast_products(amd)
    assert not slow_products(old, amd)
    monkeypatch.setenv(SWITCH, "4")
    use_fast_products(amd)
    assert os.environ[SWITCH] == "4"
    assert "unset it" in doctor._float32(old, amd)
    assert "slow" not in doctor._float32(old.replace("2020.0.0", "2024.2.0"), amd)


@dataclass(frozen=True)
class Switch:
    autocast: Literal["auto", "off"] = "auto"


def test_a_bare_off_is_a_word_where_off_is_a_choice(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("autocast: off\n")
    assert load_config(Switch, tmp_path / "c.yaml") == Switch("off")
    with pytest.raises(UserError, match="found 'on'"):
        from_mapping(Switch, {"autocast": True})
