"""A parser of options that names the nearest of its own for one that it does not know."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from asr_distill.base.configuration import shipped
from asr_distill.base.errors import UserError

_OF_PATHS = ("FILE", "DIR", "CUTS")  # metavars of options that are paths, though not of type `Path`


class OptionParser(argparse.ArgumentParser):
    """As `argparse.ArgumentParser`; a wrong option or choice ends it with one line that says what was probably meant.

    ``given_paths`` of what was parsed: the options that are paths and had a value, with it, those of its actions included.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As the base class, after unknown options have been refused (they would be called missing values otherwise)."""
        if args is not None:
            self._refuse_unknown(args)
        parsed, rest = super().parse_known_args(args, namespace)
        of_actions = getattr(parsed, "given_paths", {})
        parsed.given_paths = {**of_actions, **{_name(a): values for a in self._actions if (values := _paths(a, parsed))}}
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Ends with status 2 and one line, without the list of all options."""
        self.exit(2, f"{self.prog}: error: {message}; `{self.prog} --help` lists what there is\n")

    def _refuse_unknown(self, args: Sequence[str]) -> None:
        actions = next((action for action in self._actions if isinstance(action, argparse._SubParsersAction)), None)
        for word in args:
            if word == "--":
                return
            if actions is not None and word[:1] != "-" and (actions.required or word in actions.choices):
                return  # what follows is the action's
            name = word.partition("=")[0]
            if (
                not name.startswith("--")
                or " " in name
                or any(option.startswith(name) for option in self._option_string_actions)
            ):
                continue
            self.error(f"unknown option {name}{did_you_mean(name, self._option_string_actions)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            meant = did_you_mean(str(value), choices)
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{meant} (choose from {', '.join(choices)})")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``, did you mean NEAREST?`` for a mistyped word, "" where none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f", did you mean {near[0]}?" if near else ""


def refuse_missing(given: dict[str, list[Path]], written: Iterable[str]) -> None:
    """Raises `UserError` for the first path that is not there, except those of options that the command writes.

    given: `OptionParser`'s ``given_paths``. A path with ``{seed}`` stands for one a seed, a shipped configuration is found by
    `asr_distill.base.read_yaml`.
    """
    for option in sorted(given.keys() - set(written)):
        for path in given[option]:
            if path.exists() or "{" in str(path) or shipped(path).is_file():
                continue
            folder = path.parent
            near = did_you_mean(path.name, (entry.name for entry in folder.iterdir()) if folder.is_dir() else ())
            raise UserError(f"{option} {path} does not exist{near or ';'} mend the path, or run the stage that writes it first")


def refuse_overwriting(given: dict[str, list[Path]], written: Iterable[str]) -> None:
    """Raises `UserError` where a file that the command writes is one that it reads; arguments as for `refuse_missing`."""
    read = [(option, path) for option in sorted(given.keys() - set(written)) for path in given[option] if path.is_file()]
    for option in sorted(given.keys() & set(written)):
        for output in filter(Path.is_file, given[option]):
            for other, path in read:
                if output.samefile(path):
                    raise UserError(f"{option} {output} is what {other} reads, and would be overwritten; choose another name")


def _name(action: argparse.Action) -> str:
    return max(action.option_strings, key=len, default=action.dest)


def _paths(action: argparse.Action, parsed: argparse.Namespace) -> list[Path]:
    value = getattr(parsed, action.dest, None)
    if not (action.type is Path or action.metavar in _OF_PATHS) or value is None or value is action.default:
        return []
    return [Path(item) for item in (value if isinstance(value, list) else [value])]
