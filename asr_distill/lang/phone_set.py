"""The phones of a model, which words that it has not been trained on must keep to."""

from __future__ import annotations

from dataclasses import dataclass

from asr_distill.base import UserError
from asr_distill.lang.lexicon import Lexicon

POSITIONS = ("_B", "_E", "_I", "_S")
_SHOWN = 10


def base_phone(name: str) -> str:
    """A phone's name without its position marker: ``AH_B`` to ``AH``; a name without one is its own base.

    For the phones of a position-dependent lang only: ``t_S`` may be a phone of its own, which
    `asr_distill.senones.Topology.base_phone` knows.
    """
    return name[:-2] if len(name) > 2 and name.endswith(POSITIONS) else name


@dataclass(frozen=True)
class PhoneSet:
    """Phones in id order (id = index + 1), as a senone inventory or a lang directory has them.

    Args:
        phones: all of them, without ``<eps>`` and disambiguation symbols.
        silence_phones: those without speech; the first is optional silence.
        where: what has them, for messages.
    """

    phones: tuple[str, ...]
    silence_phones: tuple[str, ...]
    where: str

    @property
    def position_dependent(self) -> bool:
        """Whether all phones of speech carry a marker of their place in the word."""
        speech = [name for name in self.phones if name not in self.silence_phones]
        return bool(speech) and all(base_phone(name) != name for name in speech)

    @property
    def base_phones(self) -> frozenset[str]:
        """The phones as a lexicon writes them."""
        marked = self.position_dependent
        return frozenset(base_phone(name) if marked and name not in self.silence_phones else name for name in self.phones)

    def require(self, lexicon: Lexicon) -> None:
        """Raise `UserError` that lists the phones, with words, that the lexicon has and the model lacks."""
        known = self.base_phones
        words: dict[str, str] = {}
        for entry in lexicon.entries:
            for phone in entry.phones:
                if phone not in known:
                    words.setdefault(phone, entry.word)
        if words:
            some = ", ".join(f"{phone} (in {word})" for phone, word in list(words.items())[:_SHOWN])
            more = f", and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
            raise UserError(
                f"the lexicon has {len(words)} phones that {self.where} lacks: {some}{more}; it has"
                f" {' '.join(sorted(known))}. Next: write these words with phones of the model"
            )
