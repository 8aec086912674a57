"""The demo's parts: grammar, noise at its ratio, and a synthesiser that does not go on with the wrong voice."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.data.demo import VARIANTS, choose_voices, demo_lexicon
from asr_distill.data.demo_sentences import Sentence, draw_sentences, spoken, vocabulary
from asr_distill.data.noise import babble, mix, pink_noise, set_peak, white_noise
from asr_distill.data.synthesis import Synthesiser, Voice


@pytest.fixture(scope="module")
def synthesiser() -> Synthesiser:
    pytest.importorskip("espeakng_loader", reason="the demo extra is not installed")
    return Synthesiser()


@pytest.mark.parametrize("name", ["nonsense", "en-us+nobody", ""])
def test_an_unknown_voice_is_an_error(synthesiser: Synthesiser, name: str) -> None:
    with pytest.raises(UserError, match="espeak-ng has no"):
        synthesiser.speak("hello", Voice(name), seed=1)


def test_every_voice_speaks_and_rates_differ(synthesiser: Synthesiser) -> None:
    for speakers in choose_voices(Random(0)).values():
        assert len({speaker.name for speaker in speakers}) == len(speakers)
        for speaker in speakers:
            assert np.abs(synthesiser.speak("seven", speaker.voice, seed=1)).max() > 0.05
    slow = synthesiser.speak("call robert", Voice("en-us", words_per_minute=120), seed=1)
    fast = synthesiser.speak("call robert", Voice("en-us", words_per_minute=240), seed=1)
    assert len(slow) > 1.5 * len(fast)


def test_the_letter_a_is_not_the_article(synthesiser: Synthesiser) -> None:
    assert spoken(Sentence("spelled", "B A Z")) == "B [['eI]] Z"
    assert spoken(Sentence("command", "SEND A MESSAGE")) == "send a message"
    voice = Voice("en-us")
    letter = synthesiser.speak(spoken(Sentence("spelled", "A B")), voice, seed=1)
    article = synthesiser.speak("A B", voice, seed=1)
    assert len(letter) > len(article) + 500


def test_variants_belong_to_one_part() -> None:
    everything = [variant for variants in VARIANTS.values() for variant in variants]
    assert len(everything) == len(set(everything))


def test_sentences_are_new_and_seeded() -> None:
    used = {"ONE TWO THREE"}
    first = draw_sentences(Random(1), 50, used)
    assert len({sentence.text for sentence in first}) == 50
    assert first == draw_sentences(Random(1), 50, {"ONE TWO THREE"})
    assert not {s.text for s in first} & {s.text for s in draw_sentences(Random(1), 50, used)}


def test_the_lexicon_has_every_word() -> None:
    lines = demo_lexicon().splitlines()
    assert {line.split()[0] for line in lines} == set(vocabulary())
    assert "Z Z EH D" in lines
    assert not any(character.isdigit() for line in lines for character in line)


def test_noise_has_the_ratio_that_was_asked_for() -> None:
    generator = np.random.default_rng(1)
    speech = np.concatenate([np.zeros(4000), np.sin(np.arange(16000) / 5), np.zeros(4000)]).astype(np.float32)
    for noise in (
        white_noise(24000, generator),
        pink_noise(24000, generator),
        babble(24000, [speech[i:] for i in range(4000, 4006)], generator),
    ):
        added = mix(speech, noise, 10.0) - speech
        assert 10 * np.log10(np.mean(speech[4000:20000] ** 2) / np.mean(added**2)) == pytest.approx(10.0, abs=0.2)
    assert np.abs(set_peak(speech, -6.0)).max() == pytest.approx(10 ** (-6 / 20))
    assert not set_peak(np.zeros(10, dtype=np.float32), -6.0).any()


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    power = np.abs(np.fft.rfft(pink_noise(1 << 18, np.random.default_rng(1)))) ** 2
    octaves = [10 * np.log10(power[1 << k : 2 << k].mean()) for k in range(8, 17)]
    assert np.diff(octaves) == pytest.approx(np.full(8, -10 * np.log10(2)), abs=0.7)
