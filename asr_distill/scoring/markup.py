"""sclite's marks in references: ``{ got to / gotta }`` is either, ``{ uh / @ }`` and ``(uh)`` may be missing.

`parse_markup` makes choices of them, `best_reading` takes the one that a hypothesis has the fewest errors against, as sclite
does: one exact search over all combinations, by dynamic programming.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from asr_distill.base import UserError, unescape_token

_NOTHING = "@"
_DEEPEST = 20
_PIECES = re.compile(r"([{}/])")


@dataclass(frozen=True)
class Choice:
    """One of several stretches of words, each of which may hold choices of its own; an empty one is nothing at all."""

    alternatives: tuple[Reference, ...]


Reference = tuple[str | Choice, ...]


def parse_markup(tokens: Sequence[str], where: str) -> Reference:
    """Words and choices of the tokens of a transcript, braces with or without blanks around them; escaped tokens are read back.

    Within braces ``/`` separates and ``@`` is nothing. A word, or several, in parentheses may be missing; parentheses within a
    word, as in ``READ(2)`` or ``(un)believable``, are letters. Raises `UserError` that begins with ``where`` for braces and
    parentheses that do not close.
    """
    if not any(mark in token for token in tokens for mark in "{}()"):
        return tuple(map(unescape_token, tokens))
    pieces = list(_pieces(tokens, where))
    position, reference = _sequence(pieces, 0, where, within=None)
    if position != len(pieces):
        raise UserError(f"{where}: found '{pieces[position]}' without its opening one; mend the line")
    return reference


def plain_words(reference: Reference, where: str) -> tuple[str, ...]:
    """The words of a transcript that must have one reading. Raises `UserError` where it has choices."""
    if any(isinstance(item, Choice) for item in reference):
        raise UserError(
            f"{where}: alternatives {{ a / b }} and optional words (uh) have several readings, and a hypothesis has one. Next:"
            " write one of them; brackets that belong to a word are written %28, %29, %7B, %7D"
        )
    return tuple(item for item in reference if isinstance(item, str))


def first_reading(reference: Reference) -> tuple[str, ...]:
    """The words with the first alternative of each choice, optional words included."""
    words: list[str] = []
    for item in reference:
        words += [item] if isinstance(item, str) else first_reading(item.alternatives[0])
    return tuple(words)


def change_words(reference: Reference, change: Callable[[tuple[str, ...]], tuple[str, ...]]) -> Reference:
    """``change`` applied to each word, which it may take out."""
    out: list[str | Choice] = []
    for item in reference:
        if isinstance(item, str):
            out += change((item,))
        else:
            out.append(Choice(tuple(change_words(alternative, change) for alternative in item.alternatives)))
    return tuple(out)


def best_reading(reference: Reference, hypothesis: Sequence[str]) -> tuple[str, ...]:
    """The reading of the reference with the fewest errors against the hypothesis; of those, the one with most words right."""
    if all(isinstance(item, str) for item in reference):
        return plain_words(reference, "reference")
    arcs: list[tuple[int, int, str | None]] = []
    end = _graph(reference, 0, arcs)
    arcs.sort(key=lambda arc: arc[0])
    error = len(arcs) + len(hypothesis) + 1  # more than all words that can be right
    width = len(hypothesis) + 1
    costs = [[float("inf")] * width for _ in range(end + 1)]
    came: list[list[tuple[int, int, str | None]]] = [[(-1, 0, None)] * width for _ in range(end + 1)]
    costs[0] = [error * j for j in range(width)]
    came[0] = [(0, j - 1, None) for j in range(width)]
    for source, destination, word in arcs:
        row, target, back = costs[source], costs[destination], came[destination]
        _insertions(row, came[source], source, error)
        for j in range(width):
            moves = [(row[j] + (error if word is not None else 0), j)]
            if word is not None and j:
                moves.append((row[j - 1] + (error if word != hypothesis[j - 1] else -1), j - 1))
            cost, before = min(moves)
            if cost < target[j]:
                target[j], back[j] = cost, (source, before, word)
    _insertions(costs[end], came[end], end, error)
    words: list[str] = []
    node, j = end, width - 1
    while (node, j) != (0, 0):
        node, j, word = came[node][j]
        if word is not None:
            words.append(word)
    return tuple(reversed(words))


def _insertions(row: list[float], back: list[tuple[int, int, str | None]], node: int, error: int) -> None:
    for j in range(1, len(row)):
        if row[j - 1] + error < row[j]:
            row[j], back[j] = row[j - 1] + error, (node, j - 1, None)


def _graph(reference: Reference, start: int, arcs: list[tuple[int, int, str | None]]) -> int:
    """Arcs from ``start``, every one to a state of a higher number; returns the last state, which is the highest."""
    here = highest = start
    for item in reference:
        if isinstance(item, str):
            arcs.append((here, highest + 1, item))
        else:
            ends = []
            for alternative in item.alternatives:
                arcs.append((here, highest + 1, None))
                highest = _graph(alternative, highest + 1, arcs)
                ends.append(highest)
            arcs.extend((end, highest + 1, None) for end in ends)
        highest += 1
        here = highest
    return here


def _pieces(tokens: Sequence[str], where: str) -> Iterator[str]:
    """Braces, slashes within them, and words as pieces of their own."""
    depth = 0
    for token in tokens:
        if depth == 0 and "{" not in token and "}" not in token:
            yield token
            continue
        for piece in filter(None, _PIECES.split(token)):
            depth += (piece == "{") - (piece == "}")
            if depth > _DEEPEST:
                raise UserError(f"{where}: braces within braces, more than {_DEEPEST} deep; mend the line")
            if piece == "/" and depth == 0:
                raise UserError(f"{where}: found {token!r}, a slash beside braces that belongs to neither; put a blank there")
            yield piece


def _sequence(pieces: list[str], position: int, where: str, within: str | None) -> tuple[int, Reference]:
    """Items up to the mark that closes ``within`` ("{" or "("), or separates its alternatives; and the position of that."""
    items: list[str | Choice] = []
    while position < len(pieces):
        piece = pieces[position]
        if piece == "}" or (piece == "/" and within == "{"):
            return position, tuple(items)
        if piece == "{":
            alternatives = []
            while True:
                position, alternative = _sequence(pieces, position + 1, where, within="{")
                alternatives.append(alternative)
                if position >= len(pieces):
                    raise UserError(f"{where}: found '{{' without its closing '}}'; mend the line")
                if pieces[position] == "}":
                    break
            items.append(Choice(tuple(dict.fromkeys(alternatives))))
        elif piece.startswith("(") and piece.count("(") == 1 and piece.find(")") in (-1, len(piece) - 1):
            position, optional = _optional(pieces, position, where)
            items.append(Choice((optional, ())) if optional else Choice(((),)))
        elif piece == ")":
            raise UserError(f"{where}: found ')' without its opening one; mend the line")
        elif piece != _NOTHING or within is None:
            items.append(unescape_token(piece))
        position += 1
    return position, tuple(items)


def _optional(pieces: list[str], position: int, where: str) -> tuple[int, Reference]:
    """The words of ``(uh)``, ``( uh )`` or ``(you know)`` that begins at ``position``, and the position of its last piece."""
    words: list[str] = []
    for end in range(position, len(pieces)):
        piece = pieces[end]
        opened = piece.removeprefix("(") if end == position else piece
        if piece in "{}/" or "(" in opened:
            break
        if opened.endswith(")"):
            words.append(opened[:-1])
            return end, tuple(unescape_token(word) for word in words if word)
        words.append(opened)
    raise UserError(
        f"{where}: found {pieces[position]!r}, which opens an optional word and does not close; mend the line, or write %28 for"
        " a parenthesis that belongs to the word"
    )
