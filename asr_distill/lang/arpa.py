"""ARPA back-off language models: read, write, probabilities of sentences, perplexity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, atomic_path
from asr_distill.lang.lexicon import count_words

BEGIN, END = "<s>", "</s>"
UNKNOWN_NAMES = ("<unk>", "<UNK>")
LOG10_ZERO = -99.0


@dataclass(frozen=True)
class Arpa:
    """``ngrams[n - 1]`` maps n words to ``(log10 probability, log10 back-off weight)``, as in the file."""

    ngrams: tuple[dict[tuple[str, ...], tuple[float, float]], ...]
    notes: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def order(self) -> int:
        """The longest n-gram."""
        return len(self.ngrams)

    @property
    def words(self) -> tuple[str, ...]:
        """Words that can be predicted: all unigrams but ``<s>``; ``</s>`` is among them."""
        return tuple(word for (word,) in self.ngrams[0] if word != BEGIN)

    @property
    def unknown_word(self) -> str | None:
        """The name under which unknown words are modelled, None where they are not."""
        return next((name for name in UNKNOWN_NAMES if (name,) in self.ngrams[0]), None)

    def __contains__(self, word: object) -> bool:
        return (word,) in self.ngrams[0]

    def log10_probability(self, word: str, history: Sequence[str] = ()) -> float:
        """log10 P(word | history), backing off where the n-gram is not listed.

        Raises `KeyError` for a word without a unigram.
        """
        context = tuple(history)[max(0, len(history) - self.order + 1) :]
        weight = 0.0
        while True:
            found = self.ngrams[len(context)].get((*context, word))
            if found is not None:
                return weight + found[0]
            if not context:
                raise KeyError(word)
            weight += self.ngrams[len(context) - 1].get(context, (0.0, 0.0))[1]
            context = context[1:]

    def sentence_log10_probability(self, words: Sequence[str]) -> float:
        """log10 P of the words and the sentence end, given the sentence begin.

        A word without a unigram counts as the unknown word. Raises `KeyError` for it where the model has none.
        """
        unknown = self.unknown_word
        sequence = [BEGIN, *(word if word in self or unknown is None else unknown for word in words), END]
        return sum(
            self.log10_probability(sequence[i], sequence[max(0, i - self.order + 1) : i]) for i in range(1, len(sequence))
        )

    def truncated(self, order: int) -> Arpa:
        """The n-grams up to ``order``, without the back-off weights that then lead nowhere."""
        kept = [dict(table) for table in self.ngrams[:order]]
        kept[-1] = {ngram: (probability, 0.0) for ngram, (probability, _) in kept[-1].items()}
        return Arpa(tuple(kept), dict(self.notes))

    def without(self, words: Iterable[str]) -> Arpa:
        """Leaves out every n-gram with one of ``words``; the rest is not renormalised, as in Kaldi's ``arpa2fst``."""
        dropped = set(words)
        return Arpa(
            tuple({ngram: v for ngram, v in table.items() if not dropped.intersection(ngram)} for table in self.ngrams),
            dict(self.notes),
        )

    def renamed(self, old: str, new: str) -> Arpa:
        """Writes ``new`` for the word ``old`` in every n-gram. Raises `UserError` where ``new`` is there already."""
        if new in self:
            raise UserError(f"cannot rename {old!r}: the language model has {new!r} already")
        swap = {old: new}
        return Arpa(
            tuple({tuple(swap.get(word, word) for word in ngram): v for ngram, v in table.items()} for table in self.ngrams),
            dict(self.notes),
        )

    def write(self, path: str | Path) -> None:
        """Writes the ARPA text form, n-grams sorted; back-off weights where they are not 0, none at the highest order."""
        with atomic_path(path, listed=True) as temporary, open(temporary, "w", encoding="utf-8") as stream:
            stream.write("\\data\\\n")
            for n, table in enumerate(self.ngrams, 1):
                stream.write(f"ngram {n}={len(table)}\n")
            for n, table in enumerate(self.ngrams, 1):
                stream.write(f"\n\\{n}-grams:\n")
                for ngram, (probability, backoff) in sorted(table.items()):
                    tail = f"\t{backoff:.7f}" if n < self.order and backoff != 0.0 else ""
                    stream.write(f"{probability:.7f}\t{' '.join(ngram)}{tail}\n")
            stream.write("\n\\end\\\n")

    def completed(self) -> Arpa:
        """The same model with every history listed, and ``<s>``: n-grams whose history a pruning tool has left out are lost
        to a transducer. What is added has the probability that backing off gives it, and the back-off weight 1.
        """
        tables = [dict(table) for table in self.ngrams]
        tables[0].setdefault((BEGIN,), (LOG10_ZERO, 0.0))
        for n in range(self.order, 1, -1):
            for ngram in list(tables[n - 1]):
                history = ngram[:-1]
                if history not in tables[n - 2]:
                    tables[n - 2][history] = max(self.log10_probability(history[-1], history[:-1]), LOG10_ZERO), 0.0
        return Arpa(tuple(tables), dict(self.notes))

    @classmethod
    def read(cls, path: str | Path) -> Arpa:
        """Reads ARPA text (`asr_distill.lang.arpa_file`)."""
        from asr_distill.lang.arpa_file import read_ngrams

        return cls(read_ngrams(Path(path)), {"source": Path(path).name})


def perplexity(arpa: Arpa, sentences: Iterable[Sequence[str]]) -> dict[str, Any]:
    """How well the model predicts ``sentences``, sentence ends included, words outside its vocabulary left out and counted.

    An unknown word breaks the history, unless the model has an unknown word, which then stands for it in histories. Keys:
    ``perplexity`` (10 to the mean negative log10 probability; None where nothing was predicted or a sentence is impossible),
    ``log10_probability``, ``sentences``, ``words`` (OOV included), ``oov``, ``oov_share`` (0-1), ``oov_words`` (word to count,
    most frequent first), ``tokens`` (predicted: words in the vocabulary and ends).
    """
    total, tokens, words, num_sentences = 0.0, 0, 0, 0
    outside: list[str] = []
    for sentence in sentences:
        num_sentences += 1
        words += len(sentence)
        history = [BEGIN]
        for word in (*sentence, END):
            if word not in arpa or word in UNKNOWN_NAMES:
                outside.append(word)
                history = [*history, arpa.unknown_word] if arpa.unknown_word else []
                continue
            total += arpa.log10_probability(word, history)
            tokens += 1
            history.append(word)
    counts = sorted(count_words(outside).items(), key=lambda item: (-item[1], item[0]))
    return {
        "perplexity": 10.0 ** (-total / tokens) if tokens and -total / tokens < 300.0 else None,
        "log10_probability": total,
        "sentences": num_sentences,
        "words": words,
        "tokens": tokens,
        "oov": len(outside),
        "oov_share": len(outside) / words if words else 0.0,
        "oov_words": dict(counts),
    }
