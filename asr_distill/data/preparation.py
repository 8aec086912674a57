"""What the ``local/prepare_*.py`` scripts share: where a corpus is, common options, how errors are shown."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from asr_distill.base import UserError, end_with_parent, run_as_command
from asr_distill.data.corpora import AudioOptions


def locate_corpus(given: Path | None, variable: str, beside: Path) -> Path | None:
    """The corpus folder: ``given``, else the environment's ``variable``, else ``beside`` the checkout; None where none exists.

    Raises `UserError` where the option or the variable names a folder that does not exist.
    """
    for name, value in (("--corpus-dir", given), (variable, os.environ.get(variable))):
        if value:
            folder = Path(value)
            if not folder.is_dir():
                raise UserError(f"{name} {folder} is not a folder; name the corpus's own top folder or leave {name} out")
            return folder
    return beside if beside.is_dir() else None


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Adds --output, --channel, --allow-bad."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="manifests folder to write")
    parser.add_argument("--channel", type=int, metavar="N", help="channel (from 0) of recordings that have several")
    parser.add_argument(
        "--allow-bad",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="share of utterances (0 to 1) that may be left out because they cannot be used; each is listed (default: 0)",
    )


def audio_options(args: argparse.Namespace) -> AudioOptions:
    """The options of `add_common_options` as `AudioOptions`."""
    if args.channel is not None and args.channel < 0:
        raise UserError(f"--channel {args.channel}: channels count from 0")
    return AudioOptions(channel=args.channel, allow_bad=args.allow_bad, raw_byte_order=getattr(args, "raw_byte_order", "auto"))


def share(text: str) -> float:
    """A number from 0 to 1 (an argparse type)."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return value


def run_script(main: Callable[[Sequence[str] | None], None]) -> int:
    """Runs a preparation script: log lines to standard error, and the exit status of `run_as_command`."""
    end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    return run_as_command(Path(sys.argv[0]).name, lambda: main(None))
