"""The demo corpus's sentences: five kinds, drawn from a small grammar; every word is in CMUdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from asr_distill.base import UserError

DIGITS = "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE".split()
TEENS = "TEN ELEVEN TWELVE THIRTEEN FOURTEEN FIFTEEN SIXTEEN SEVENTEEN EIGHTEEN NINETEEN".split()
TENS = "TWENTY THIRTY FORTY FIFTY SIXTY SEVENTY EIGHTY NINETY".split()
ORDINALS = (
    "FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH TENTH ELEVENTH TWELFTH THIRTEENTH FOURTEENTH FIFTEENTH"
    " SIXTEENTH SEVENTEENTH EIGHTEENTH NINETEENTH TWENTIETH"
).split()
WEEKDAYS = "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY".split()
MONTHS = "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER".split()
FIRST_NAMES = (
    "ALICE ADAM BETTY BRIAN CLARA DAVID DIANA EDWARD EMMA FRANK GRACE HENRY HELEN JAMES JULIA KEVIN LAURA MARTIN MARY NINA"
    " OLIVER PAUL RACHEL ROBERT SARAH SIMON THOMAS VICTOR WENDY ZOE"
).split()
LAST_NAMES = (
    "ADAMS BAKER BROWN CARTER CLARK COOPER DAVIS EVANS FISHER GRAHAM HARRIS HILL JACKSON JONES KELLY LEWIS MARTIN MILLER"
    " MORGAN NELSON PARKER QUINN ROBERTS SHAW SMITH TAYLOR TURNER WALKER WATSON YOUNG"
).split()
PLACES = "BOSTON CAMBRIDGE DENVER DUBLIN GLASGOW LONDON MADRID OXFORD PARIS ROME SYDNEY TORONTO VIENNA YORK".split()
ROOMS = "KITCHEN BEDROOM HALL GARDEN OFFICE BATHROOM".split()
DEVICES = "LIGHT FAN HEATER RADIO LAMP".split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Sentence:
    """What is said: a kind and words in capitals (a single capital is the name of that letter)."""

    kind: str
    text: str


def spoken(sentence: Sentence) -> str:
    """The text for espeak-ng: lower case, except letters; A in its phonemes, as it would be read as the article."""
    if sentence.kind != "spelled":
        return sentence.text.lower()
    return " ".join("[['eI]]" if word == "A" else word if len(word) == 1 else word.lower() for word in sentence.text.split())


def draw_sentences(random: Random, count: int, unlike: set[str]) -> list[Sentence]:
    """``count`` sentences, the kinds in turn, none of them twice and none of them in ``unlike`` (which grows by them).

    Raises `UserError` where the grammar runs out of new sentences.
    """
    drawn: list[Sentence] = []
    kinds = list(_KINDS)
    failures = 0
    while len(drawn) < count:
        kind = kinds[len(drawn) % len(kinds)]
        text = _KINDS[kind](random)
        if text in unlike:
            failures += 1
            if failures > 1000 + 100 * count:
                raise UserError(f"the grammar has no {count} further sentences; ask for fewer")
            continue
        unlike.add(text)
        drawn.append(Sentence(kind, text))
    return drawn


def _spelled(random: Random) -> str:
    if random.random() < 0.5:
        return " ".join(random.choice([*FIRST_NAMES, *LAST_NAMES, *PLACES]))
    return " ".join(random.choice(LETTERS) for _ in range(random.randint(3, 7)))


def _digits(random: Random) -> str:
    zero = random.choice(["ZERO", "OH"])
    words = [random.choice(DIGITS) for _ in range(random.randint(4, 8))]
    return " ".join(zero if word == "ZERO" else word for word in words)


def _two_digits(random: Random, lowest: int, highest: int) -> str:
    number = random.randint(lowest, highest)
    if number < 10:
        return DIGITS[number]
    if number < 20:
        return TEENS[number - 10]
    return TENS[number // 10 - 2] + (f" {DIGITS[number % 10]}" if number % 10 else "")


def _day(random: Random) -> str:
    number = random.randint(1, 31)
    if number <= 20:
        return ORDINALS[number - 1]
    return "THIRTIETH" if number == 30 else f"{TENS[number // 10 - 2]} {ORDINALS[number % 10 - 1]}"


def _date(random: Random) -> str:
    day, month = _day(random), random.choice(MONTHS)
    text = random.choice([f"{month} {day}", f"THE {day} OF {month}", f"{random.choice(WEEKDAYS)} {month} {day}"])
    if random.random() < 0.5:
        text += f" NINETEEN {_two_digits(random, 21, 99)}"
    return text


def _name(random: Random) -> str:
    name = f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}"
    return random.choice(
        [
            f"CALL {name}",
            f"{name} FROM {random.choice(PLACES)}",
            f"SEND A MESSAGE TO {name}",
            f"{name} AND {random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}",
        ]
    )


def _command(random: Random) -> str:
    place, device = random.choice(ROOMS), random.choice(DEVICES)
    return random.choice(
        [
            f"TURN THE {place} {device} {random.choice(['ON', 'OFF'])}",
            f"SET AN ALARM FOR {_two_digits(random, 1, 12)} {_two_digits(random, 10, 59)}",
            f"PLAY TRACK {_two_digits(random, 2, 99)}",
            f"SET THE {place} {device} TO {_two_digits(random, 10, 99)}",
            f"BOOK A FLIGHT FROM {random.choice(PLACES)} TO {random.choice(PLACES)}",
            f"REMIND ME ON {random.choice(WEEKDAYS)} TO CALL {random.choice(FIRST_NAMES)}",
            f"GO TO {random.choice(['PAGE', 'LINE', 'ROOM'])} {_two_digits(random, 2, 99)} AND STOP",
        ]
    )


_KINDS: dict[str, Callable[[Random], str]] = {
    "spelled": _spelled,
    "digits": _digits,
    "date": _date,
    "name": _name,
    "command": _command,
}


def vocabulary() -> list[str]:
    """Every word that the grammar can say, sorted."""
    words = {
        *DIGITS,
        *TEENS,
        *TENS,
        *ORDINALS,
        *WEEKDAYS,
        *MONTHS,
        *FIRST_NAMES,
        *LAST_NAMES,
        *PLACES,
        *ROOMS,
        *DEVICES,
        *LETTERS,
    }
    words |= set("OH THIRTIETH THE OF CALL FROM SEND A MESSAGE TO AND TURN ON OFF SET AN ALARM FOR PLAY TRACK BOOK".split())
    words |= set("FLIGHT REMIND ME GO PAGE LINE ROOM STOP".split())
    return sorted(words)
