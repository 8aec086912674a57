"""Every command names what was probably meant, and looks before any work whether the paths that it was given are there."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.base import OptionParser, UserError, refuse_missing
from asr_distill.cli.main import ALSO_WRITTEN, SUBCOMMANDS, WRITTEN, build_parser, main

_spec = importlib.util.spec_from_file_location("answer_options", Path(__file__).with_name("test_answer_options.py"))
assert _spec is not None
assert _spec.loader is not None
_shared = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_shared)
NAMES, of_subcommand = _shared.NAMES, _shared.of_subcommand
PATHS = ("FILE", "DIR", "CUTS")


def options(words: tuple[str, ...]) -> list[argparse.Action]:
    parser = of_subcommand(words[0])[words]
    return [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]


def name(action: argparse.Action) -> str:
    return max(action.option_strings, key=len, default=action.dest)


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_a_mistyped_option_is_named_with_the_one_meant(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    known = {name(action) for action in options(words) if action.option_strings}
    for option in known:
        if len(option) < 7:
            continue
        wrong = option[:-3] + option[-2] + option[-3] + option[-1]  # two letters exchanged
        if wrong in known or any(other.startswith(wrong) for other in known):
            continue
        with pytest.raises(SystemExit) as leaving:
            main([*words, wrong, "1"])
        told = capsys.readouterr().err
        assert leaving.value.code == 2
        assert told.count("\n") == 1
        assert f"{' '.join(words)}: error: unknown option {wrong}, did you mean --" in told


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_a_path_that_is_not_there_is_never_ignored(words: tuple[str, ...]) -> None:
    parser, written = of_subcommand(words[0])[words], {*WRITTEN, *ALSO_WRITTEN.get(words[0], ())}
    for group in parser._mutually_exclusive_groups:
        group.required = False
    actions = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    for action in actions:
        action.required = action.required and not action.option_strings
    positional = [str(next(iter(action.choices))) if action.choices else "." for action in actions if action.required]
    for action in actions:
        if (action.type is not Path and action.metavar not in PATHS) or name(action) in written:
            continue
        argv = [*positional, name(action), "no/such"]
        if not action.option_strings:
            argv = ["no/such" if word == "." else word for word in positional] or ["no/such"]
        with pytest.raises(UserError, match=f"^{name(action)} no/such does not exist"):
            refuse_missing(parser.parse_args(argv).given_paths, written)


def test_it_is_said_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("graph", "model", "cuts"):
        (tmp_path / path).mkdir()
    words = [word for path in ("graph", "model", "cuts") for word in (f"--{path}", str(tmp_path / path))]
    output = tmp_path / "out"
    assert main(["decode", *words, "--system", "x", "--output", str(output), "--alignments", "/no/such"]) == 1
    assert "--alignments /no/such does not exist" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    "words",
    ["lang ngram --lang . --cuts X --output X", "lang g --lang . --arpa X --output ./X", "tree label --cuts X --output X"],
)
def test_what_is_read_is_not_written_over(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("X").write_text("mine")
    others = ["--inventory", "X", "--alignments", "X"] if words.startswith("tree") else []
    assert main([*words.split(), *others]) == 1
    assert "X is what --" in capsys.readouterr().err
    assert Path("X").read_text() == "mine"


def test_the_neighbour_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cuts_train.jsonl.gz").touch()
    assert main(["features", "--cuts", str(tmp_path / "cut_train.jsonl.gz"), "--output", str(tmp_path / "fbank")]) == 1
    assert "does not exist, did you mean cuts_train.jsonl.gz?" in capsys.readouterr().err


def test_a_mistyped_command_and_action(capsys: pytest.CaptureFixture[str]) -> None:
    for words, meant in ((["decoed", "--model", "m"], "decode"), (["lang", "biuld"], "build"), (["--verison"], "--version")):
        with pytest.raises(SystemExit):
            main(words)
        assert f"did you mean {meant}?" in capsys.readouterr().err


@given(st.lists(st.sampled_from(["--model", "--mod", "--model=x", "--json", "x", "-1", "--", "a b", "--a b", ""])))
def test_what_argparse_takes_is_taken(words: list[str]) -> None:
    def parsed(cls: type[argparse.ArgumentParser]) -> argparse.Namespace | int:
        parser = cls(exit_on_error=False)
        parser.add_argument("--model", type=Path)
        parser.add_argument("--json", action="store_true")
        parser.add_argument("rest", nargs="*")
        try:
            found = parser.parse_args(words)
        except (SystemExit, argparse.ArgumentError):
            return 2
        return argparse.Namespace(**{key: value for key, value in vars(found).items() if key != "given_paths"})

    assert parsed(OptionParser) == parsed(argparse.ArgumentParser)


def test_every_written_option_is_one() -> None:
    found = {command: {name(a) for words in NAMES if words[0] == command for a in options(words)} for command in SUBCOMMANDS}
    assert set().union(*found.values()) >= WRITTEN
    for command, names in ALSO_WRITTEN.items():
        assert found[command] >= set(names)
    assert build_parser("decode").prog == "asr-distill"
