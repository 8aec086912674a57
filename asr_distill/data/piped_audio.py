"""Commands of wav.scp that do no more than unpack one file: that file, and the channel, without running anything.

Comes in: an entry of wav.scp that ends in ``|``. Goes out: the one file whose samples the command would print as they are
(``flac -c -d -s a.flac |``, ``sph2pipe -f wav -p -c 1 a.sph |``, ``sox a.wav -t wav - |``), or None for whatever else it says.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

# Even within quotes: what the shell, or a glob of it, would put in their place is not known here.
_EXPANDED = frozenset("$`\\*?[{~\n\r")
_PUNCTUATION = "();<>|&"


@dataclass(frozen=True)
class PipedFile:
    """The file that a command unpacks, as the command names it, and the channel that it takes (from 0; None: all of them)."""

    name: str
    channel: int | None = None


def unpacked_file(command: str) -> PipedFile | None:
    """The file behind a command that ends in ``|``; None unless every word of it is known to leave the samples as they are."""
    words = _command_words(command)
    if not words:
        return None
    program = PurePosixPath(words[0]).name
    return _PROGRAMS[program](words[1:]) if program in _PROGRAMS else None


def _command_words(command: str) -> list[str]:
    """The words of one simple command without its ``|``; empty where it is anything else (a pipeline, quotes left open)."""
    body = command.strip().removesuffix("|")
    if _EXPANDED.intersection(body):
        return []
    lexer = shlex.shlex(body, posix=True, punctuation_chars=_PUNCTUATION)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        return []
    simple = all(word and not word.startswith("#") and not set(word) <= set(_PUNCTUATION) for word in words)
    return words if simple else []


def _flac(words: Sequence[str]) -> PipedFile | None:
    """``-c`` (to standard output), ``-d`` (decode) and perhaps ``-s`` (silently), apart or joined, in any order."""
    flags = [word for word in words if word.startswith("-")]
    letters = set("".join(flag[1:] for flag in flags))
    if not all(re.fullmatch(r"-[cds]+", flag) for flag in flags) or not {"c", "d"} <= letters:
        return None
    return _only_file([word for word in words if not word.startswith("-")])


def _sph2pipe(words: Sequence[str]) -> PipedFile | None:
    """``-f wav``, ``-p`` (as 16-bit samples) and ``-c 1`` or ``-c 2``, before the file."""
    left, channel, wav = list(words), None, False
    while left and left[0].startswith("-"):
        if left[0] == "-p":
            left = left[1:]
        elif left[:2] == ["-f", "wav"] and not wav:
            left, wav = left[2:], True
        elif left[0] == "-c" and left[1:2] in (["1"], ["2"]) and channel is None:
            left, channel = left[2:], int(left[1]) - 1
        else:
            return None
    return _only_file(left, channel) if wav else None


def _sox(words: Sequence[str]) -> PipedFile | None:
    """``FILE -t wav -``: neither a format of the input nor an effect."""
    return _only_file(words[:1]) if list(words[1:]) == ["-t", "wav", "-"] else None


def _wav_copy(words: Sequence[str]) -> PipedFile | None:
    return _only_file(words[:1]) if list(words[1:]) == ["-"] else None


def _only_file(words: Sequence[str], channel: int | None = None) -> PipedFile | None:
    return PipedFile(words[0], channel) if len(words) == 1 and not words[0].startswith("-") else None


_PROGRAMS = {"flac": _flac, "sph2pipe": _sph2pipe, "sox": _sox, "cat": _only_file, "wav-copy": _wav_copy}
