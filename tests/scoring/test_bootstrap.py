"""Intervals and comparisons: constant data, cases with a known answer, the normal approximation, and what is refused."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.scoring import (
    Utterance,
    bootstrap_interval,
    gain_transferred,
    metric_counts,
    paired_comparison,
)
from asr_distill.scoring.bootstrap import FEWEST


def make(correct: Sequence[int], frames: int = 100, speakers: int = 5) -> list[Utterance]:
    """Utterances u000... of equal length with so many correct frames and no word errors."""
    return [
        Utterance(f"u{number:03}", ("a",), ("a",), speaker=f"s{number % speakers}", frames=frames, correct_frames=count)
        for number, count in enumerate(correct)
    ]


def words(errors: Sequence[int], length: int = 3) -> list[Utterance]:
    """Utterances of `length` words, the first `errors` of each substituted."""
    reference = tuple("abcdefghij"[:length])
    return [Utterance(f"u{n:03}", reference, ("X",) * e + reference[e:], speaker=f"s{n % 5}") for n, e in enumerate(errors)]


@pytest.mark.parametrize("unit", ["utterance", "speaker"])
def test_constant_data_have_no_width(unit: str) -> None:
    counts = metric_counts("wer", [words([1] * 40)])
    interval = bootstrap_interval(counts, unit)
    assert interval.value == pytest.approx(100 / 3)
    assert interval.ci95 is not None
    assert interval.ci95[0] == interval.ci95[1] == interval.value
    assert interval.units == (40 if unit == "utterance" else 5)


def test_the_interval_of_equal_lengths_is_that_of_a_mean() -> None:
    correct = np.random.default_rng(1).integers(20, 90, size=400)
    interval = bootstrap_interval(metric_counts("frame_accuracy", [make(correct)]))
    expected = 1.96 * correct.std() / np.sqrt(len(correct))
    assert interval.ci95 is not None
    assert interval.value == pytest.approx(correct.mean())
    assert interval.value - interval.ci95[0] == pytest.approx(expected, rel=0.06)
    assert interval.ci95[1] - interval.value == pytest.approx(expected, rel=0.06)
    assert interval.standard_error == pytest.approx(expected / 1.96, rel=0.05)


def test_speakers_that_differ_widen_the_interval() -> None:
    correct = [20 if number % 5 == 0 else 80 for number in range(200)]
    counts = metric_counts("frame_accuracy", [make(correct)])
    over_utterances, over_speakers = bootstrap_interval(counts), bootstrap_interval(counts, "speaker")
    assert over_utterances.value == over_speakers.value == 68.0
    assert over_utterances.ci95 is not None
    assert over_speakers.ci95 is not None
    widths = [high - low for low, high in (over_utterances.ci95, over_speakers.ci95)]
    assert widths[1] > 4 * widths[0]


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    counts = metric_counts("frame_accuracy", [make(list(range(50)))])
    assert bootstrap_interval(counts, seed=3) == bootstrap_interval(counts, seed=3)
    assert bootstrap_interval(counts, seed=3).ci95 != bootstrap_interval(counts, seed=4).ci95


def test_ten_thousand_samples_take_well_under_a_second() -> None:
    counts = metric_counts("frame_accuracy", [make(np.random.default_rng(0).integers(0, 100, 1000))])
    start = time.process_time()
    bootstrap_interval(counts)
    assert time.process_time() - start < 1.0


def test_nothing_to_divide_by_is_none_and_never_nan() -> None:
    interval = bootstrap_interval(metric_counts("wer", [[Utterance("u", (), ("a",))]]))
    assert interval.value is None
    assert interval.ci95 is None


def test_an_empty_reference_beside_others_counts_its_insertions() -> None:
    utterances = [Utterance("u1", (), ("a", "b")), Utterance("u2", ("a", "b"), ("a", "b"))]
    assert metric_counts("wer", [utterances]).value == 100.0
    assert bootstrap_interval(metric_counts("wer", [utterances * 3])).ci95 is not None


def test_a_system_against_itself_is_a_draw() -> None:
    counts = metric_counts("wer", [words([0, 1, 2, 3] * 5)])
    result = paired_comparison(counts, counts)
    assert (result.difference, result.ci95, result.p_improvement) == (0.0, (0.0, 0.0), 0.5)


def test_one_differing_utterance_has_the_probability_of_its_being_drawn() -> None:
    # b errs once, in one of 10 utterances: a is better where that one is drawn (1 - 0.9^10), else it is a draw.
    a, b = metric_counts("wer", [words([0] * 10)]), metric_counts("wer", [words([1] + [0] * 9)])
    drawn = 1 - 0.9**10
    result = paired_comparison(a, b)
    assert result.difference == pytest.approx(-100 / 30)
    assert result.p_improvement == pytest.approx(drawn + (1 - drawn) / 2, abs=0.01)
    assert result.ci95 is not None
    assert result.ci95[1] == 0.0
    reverse = paired_comparison(b, a)
    assert reverse.difference == -result.difference
    assert reverse.p_improvement == pytest.approx(1 - result.p_improvement)


def test_pairing_sees_what_two_separate_intervals_do_not() -> None:
    correct = np.random.default_rng(2).integers(10, 90, size=60)
    a, b = metric_counts("frame_accuracy", [make(correct + 1)]), metric_counts("frame_accuracy", [make(correct)])
    result = paired_comparison(a, b, "speaker")
    assert result.p_improvement == 1.0
    assert result.difference == pytest.approx(1.0)
    assert result.ci95 == (pytest.approx(1.0), pytest.approx(1.0))


def test_seeds_that_scatter_widen_a_comparison() -> None:
    steady = metric_counts("frame_accuracy", [make([50] * 40)] * 4)
    scattered = metric_counts("frame_accuracy", [make([level] * 40) for level in (46, 49, 52, 55)])
    result = paired_comparison(scattered, steady, "speaker")
    assert result.difference == pytest.approx(0.5)
    assert result.ci95 is not None
    # The mean of 4 draws out of 46, 49, 52, 55 has a standard deviation of 3.354 / 2; the units add nothing here.
    assert result.ci95[1] - result.ci95[0] == pytest.approx(3.92 * 3.354 / 2, rel=0.15)
    assert (result.seeds_a, result.seeds_b) == (4, 4)
    assert scattered.values == [46, 49, 52, 55]


def test_what_a_student_keeps_of_the_gain() -> None:
    base = np.random.default_rng(5).integers(20, 60, size=100)
    baseline, ensemble, distilled = (metric_counts("frame_accuracy", [make(base + more)]) for more in (0, 10, 8))
    gain = gain_transferred(baseline, ensemble, distilled)
    assert gain.share == pytest.approx(0.8)
    assert gain.ci95 == (pytest.approx(0.8), pytest.approx(0.8))
    assert gain.counts
    assert gain.p_distilled_beats_baseline == 1.0


def test_a_gain_that_may_be_none_does_not_count() -> None:
    generator = np.random.default_rng(6)
    baseline, ensemble, distilled = (
        metric_counts("frame_accuracy", [make(generator.integers(20, 60, size=50))]) for _ in range(3)
    )
    assert not gain_transferred(baseline, ensemble, distilled).counts
    assert gain_transferred(baseline, baseline, distilled).share is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(50, 80)), min_size=FEWEST, max_size=30), st.integers(0, 99))
def test_intervals_hold_their_figure_and_stay_within_the_extremes(counts: list[tuple[int, int]], seed: int) -> None:
    utterances = [
        Utterance(f"u{n}", ("a",), ("a",), speaker=f"s{n % 3}", frames=frames, correct_frames=correct)
        for n, (correct, frames) in enumerate(counts)
    ]
    rates = [100 * correct / frames for correct, frames in counts]
    for unit in ("utterance", "speaker"):
        interval = bootstrap_interval(metric_counts("frame_accuracy", [utterances]), unit, samples=300, seed=seed)
        assert interval.ci95 is not None
        assert min(rates) - 1e-9 <= interval.ci95[0] <= interval.ci95[1] <= max(rates) + 1e-9


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda b: b[1:], "u000"),
        (lambda b: [*b, Utterance("extra", ("a",), ("a",), speaker="s0", frames=1, correct_frames=1)], "extra"),
        (lambda b: [Utterance("u000", ("z",), ("a",), speaker="s0", frames=100, correct_frames=1), *b[1:]], "u000"),
        (lambda b: [Utterance("u000", ("a",), ("a",), speaker="s0", frames=101, correct_frames=1), *b[1:]], "u000"),
    ],
    ids=["missing", "extra", "other text", "other frames"],
)
def test_sets_that_differ_are_refused_by_id(change, named) -> None:  # type: ignore[no-untyped-def]
    a = make([50] * 10)
    with pytest.raises(UserError, match=named):
        paired_comparison(metric_counts("frame_accuracy", [a]), metric_counts("frame_accuracy", [change(a)]))
    with pytest.raises(UserError, match=named):
        metric_counts("frame_accuracy", [a, change(a)])


def test_an_unknown_speaker_is_named() -> None:
    with pytest.raises(UserError, match="lonely"):
        bootstrap_interval(metric_counts("wer", [[Utterance("lonely", ("a",), ("a",))]]), "speaker")


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="frame_accuracy"):
        metric_counts("cer", [[Utterance("u", ("a",), ("a",))]])


def spoken_by(speakers: int, utterances: int = 30) -> list[Utterance]:
    rows = words([n % 3 for n in range(utterances)])
    return [dataclasses.replace(row, speaker=f"s{n % speakers}") for n, row in enumerate(rows)]


@pytest.mark.parametrize("speakers", [1, 2, 4, 5, 8])
def test_a_few_speakers_are_no_certainty(speakers: int) -> None:
    """Drawing one speaker again and again gives the same figure: 1.29 [1.29, 1.29], P 1.000."""
    counts = metric_counts("wer", [spoken_by(speakers)])
    interval = bootstrap_interval(counts, "speaker")
    assert interval.ci95 is not None
    other = metric_counts("wer", [[dataclasses.replace(row, hypothesis=row.reference) for row in spoken_by(speakers)]])
    compared = paired_comparison(other, counts, "speaker")
    assert compared.unit == interval.unit
    if speakers < FEWEST:
        assert (interval.unit, interval.units) == ("utterance within speaker", 30)
        assert interval.ci95[0] < interval.value < interval.ci95[1]
    else:
        assert (interval.unit, interval.units) == ("speaker", speakers)


def test_utterances_within_speakers_are_drawn_as_often_as_there_are() -> None:
    """Two speakers, one always right and one always wrong: within speakers nothing varies, whoever is drawn."""
    rows = [dataclasses.replace(row, speaker="a") for row in words([0] * 12)]
    rows += [dataclasses.replace(row, id=f"w{row.id}", speaker="b") for row in words([3] * 4)]
    assert bootstrap_interval(metric_counts("wer", [rows]), "speaker").ci95 == (25.0, 25.0)


def test_the_interval_of_one_speaker_is_that_over_utterances() -> None:
    counts = metric_counts("wer", [spoken_by(1)])
    assert bootstrap_interval(counts, "speaker").ci95 == bootstrap_interval(counts, "utterance").ci95


def test_an_utterance_of_two_speakers_is_refused() -> None:
    rows = spoken_by(6)
    other = [dataclasses.replace(rows[0], speaker="new"), *rows[1:]]
    with pytest.raises(UserError, match="the speakers of 1 utterances differ between a and b: u000"):
        paired_comparison(metric_counts("wer", [rows]), metric_counts("wer", [other]), "speaker")


@pytest.mark.parametrize("unit", ["utterance", "speaker"])
def test_too_few_utterances_have_no_interval(unit: str) -> None:
    few, more = (metric_counts("wer", [spoken_by(1, number)]) for number in (FEWEST - 1, FEWEST))
    assert bootstrap_interval(few, unit).value is not None
    assert (bootstrap_interval(few, unit).ci95, bootstrap_interval(few, unit).standard_error) == (None, None)
    compared = paired_comparison(few, few, unit)
    assert (compared.difference, compared.ci95, compared.p_improvement) == (0.0, None, None)
    assert bootstrap_interval(more, unit).ci95 is not None


def test_a_gain_on_two_speakers_is_not_certain() -> None:
    base, better = spoken_by(2), spoken_by(2)
    better[1] = dataclasses.replace(better[1], hypothesis=better[1].reference)
    counts = [metric_counts("wer", [rows]) for rows in (base, better, better)]
    found = gain_transferred(*counts, unit="speaker")
    assert found.ensemble_gain_ci95 is not None
    assert found.ensemble_gain_ci95[1] == 0.0
    assert not found.counts
