"""``--json`` and ``--quiet`` of every subcommand and of every action: in its help, and read before and behind the action."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from asr_distill.cli.main import SUBCOMMANDS, build_parser

Words = tuple[str, ...]


def parsers(parser: argparse.ArgumentParser, before: Words) -> Iterator[tuple[Words, argparse.ArgumentParser]]:
    """The parser with its name, and those of its actions."""
    yield before, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, nested in action.choices.items():
                yield from parsers(nested, (*before, name))


def of_subcommand(name: str) -> dict[Words, argparse.ArgumentParser]:
    nested = next(a for a in build_parser(name)._actions if isinstance(a, argparse._SubParsersAction)).choices[name]
    return dict(parsers(nested, (name,)))


def needed(parser: argparse.ArgumentParser) -> list[str]:
    """The least that it can be called with, of made-up values."""
    words = []
    for action in parser._actions:
        if action.required and not isinstance(action, argparse._SubParsersAction):
            words += [*action.option_strings[:1], str(next(iter(action.choices)) if action.choices else "1")]
    for group in parser._mutually_exclusive_groups:
        words += [group._group_actions[0].option_strings[0], "1"] if group.required else []
    return words


NAMES = [words for name in SUBCOMMANDS for words in of_subcommand(name)]


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_listed_and_read_wherever_it_stands(words: Words) -> None:
    parser = of_subcommand(words[0])[words]
    text = parser.format_help()
    for option, meaning in (("--json", "print one JSON object"), ("--quiet", "only errors")):
        assert option in text
        assert meaning in " ".join(text.split())
    if any(isinstance(action, argparse._SubParsersAction) and action.required for action in parser._actions):
        return  # it cannot be called without an action
    first, *actions = words
    behind, read = [*actions, *needed(parser)], build_parser(first).parse_args
    for argv in ([first, *behind, "--json", "--quiet"], [first, "--json", "--quiet", *behind]):
        args = read(argv)
        assert (args.json, args.quiet) == (True, True)
    args = read([first, *behind])
    assert (args.json, args.quiet) == (False, False)


def test_actions_are_among_them() -> None:
    assert {("lang", "ppl"), ("align", "forced"), ("tree", "label"), ("graph", "check"), ("mnist", "train")} <= set(NAMES)
