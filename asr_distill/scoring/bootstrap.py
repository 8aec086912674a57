"""Bootstrap over utterances or speakers, and over seeds: intervals, paired comparisons, the share of a gain transferred.

M. Bisani, H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004. A bootstrap sample
draws as many units as there are, with replacement; two systems are compared on the same draw. Systems that were trained with
several seeds have their seeds drawn too, each system its own, and the statistic is the mean over the drawn seeds.

One speaker drawn again and again is the same speaker: the interval would be a point, and look like certainty. Of normal
data a 95 % interval over 2, 3, 4 speakers holds the mean in 50, 76, 81 % of cases, over 5 in 83, over 10 in 89. So below
`FEWEST` speakers each speaker's utterances are drawn instead (`WITHIN`), and the interval is for these speakers only; below
`FEWEST` utterances there is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr_distill.base import UserError
from asr_distill.scoring.metrics import METRICS, MetricCounts, some

SAMPLES = 10_000
FEWEST = 5
WITHIN = "utterance within speaker"
_CHUNK_ELEMENTS = 1 << 21  # weights held at a time: 16 MB as float64
_TIE = 1e-9  # per cent; below the smallest difference that counts of whole words or frames can make


@dataclass(frozen=True)
class Interval:
    """A figure in per cent with its percentile interval; None where there is nothing to divide by."""

    value: float | None
    ci95: tuple[float, float] | None
    standard_error: float | None
    unit: str
    units: int
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """``difference`` = a - b in percentage points; ``p_improvement`` = share of samples in which a is better (a tie: half)."""

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    ci95: tuple[float, float] | None
    p_improvement: float | None
    unit: str
    units: int
    seeds_a: int
    seeds_b: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dict(vars(self))
        values["ci95"] = list(self.ci95) if self.ci95 else None
        return values


@dataclass(frozen=True)
class GainTransferred:
    """(distilled - baseline) / (ensemble - baseline), and the ensemble's own gain; ``counts`` where that excludes zero."""

    share: float | None
    ci95: tuple[float, float] | None
    ensemble_gain: float | None
    ensemble_gain_ci95: tuple[float, float] | None
    p_distilled_beats_baseline: float | None
    counts: bool


def resampled_unit(unit: str, speakers: Collection[str | None]) -> str:
    """What is drawn where ``unit`` is asked for and these are the speakers: ``speaker``, ``utterance`` or `WITHIN`."""
    return WITHIN if unit == "speaker" and len(set(speakers)) < FEWEST else unit


def named_unit(unit: str) -> str:
    """The unit in the plural, for a sentence."""
    return {WITHIN: "utterances within speakers (too few speakers to draw)", "class": "classes"}.get(unit, f"{unit}s")


def _weights(strata: Sequence[np.ndarray], samples: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Chunks (S, N) float64 of how often each of N units was drawn in each sample.

    strata: the numbers of the units of each; as many are drawn of a stratum as it has.
    """
    units = sum(len(stratum) for stratum in strata)
    per_chunk = max(1, min(samples, _CHUNK_ELEMENTS // max(units, 1)))
    for start in range(0, samples, per_chunk):
        rows = min(per_chunk, samples - start)
        weights = np.empty((rows, units))
        for stratum in strata:
            size = len(stratum)
            drawn = generator.integers(0, size, size=(rows, size), dtype=np.int32).astype(np.int64)
            drawn += np.arange(rows, dtype=np.int64)[:, None] * size
            weights[:, stratum] = np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)
        yield weights


def _resampled(drawn: _Drawn, samples: int, seed: int) -> np.ndarray:
    """(systems, samples) float64 per cent: all systems on the same draws of units; NaN where there is nothing to divide by, and
    everywhere where there are too few units to draw."""
    systems = drawn.systems
    if samples < 1:
        raise UserError(f"{samples} bootstrap samples; expected at least 1")
    generator = np.random.default_rng(seed)
    # Seeds are drawn first and apart, so that the draws of units do not depend on how many seeds there are.
    drawn_seeds = []
    for system, child in zip(systems, np.random.SeedSequence(seed).spawn(len(systems)), strict=True):
        count = len(system.numerators)
        picks = np.random.default_rng(child).integers(0, count, size=(samples, count))
        shares = np.zeros((samples, count))
        np.add.at(shares, (np.arange(samples)[:, None], picks), 1.0 / count)
        drawn_seeds.append(shares)
    out = np.full((len(systems), samples), np.nan)
    if len(systems[0].units) < FEWEST:
        return out
    start = 0
    for weights in _weights(drawn.strata, samples, generator):
        stop = start + len(weights)
        for number, system in enumerate(systems):
            numerators, denominators = weights @ system.numerators.T, weights @ system.denominators.T
            with np.errstate(divide="ignore", invalid="ignore"):
                rates = np.where(denominators > 0, 100.0 * numerators / denominators, np.nan)
            out[number, start:stop] = (rates * drawn_seeds[number][start:stop]).sum(axis=1)
        start = stop
    return out


def _percentiles(values: np.ndarray) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class _Drawn:
    """Systems in the units that are drawn, and the numbers of the units of each stratum."""

    systems: list[MetricCounts]
    unit: str
    strata: list[np.ndarray]


def _in_units(systems: Sequence[MetricCounts], unit: str) -> _Drawn:
    if unit not in ("utterance", "speaker"):
        raise UserError(f"unknown unit {unit!r}; expected utterance or speaker")
    by_speaker = [system.by_speaker() for system in systems] if unit == "speaker" else []
    unit = resampled_unit(unit, systems[0].speakers)
    if unit == "speaker":
        return _Drawn(by_speaker, unit, [np.arange(len(by_speaker[0].units))])
    if unit == "utterance":
        return _Drawn(list(systems), unit, [np.arange(len(systems[0].units))])
    names = np.array([str(speaker) for speaker in systems[0].speakers])
    return _Drawn(list(systems), unit, [np.flatnonzero(names == name) for name in sorted(set(names.tolist()))])


def bootstrap_interval(counts: MetricCounts, unit: str = "utterance", samples: int = SAMPLES, seed: int = 0) -> Interval:
    """The metric's 95 % percentile interval over utterances or speakers (and over seeds, where there are several).

    The ``unit`` of the result is what was drawn, which is `WITHIN` where there are fewer than `FEWEST` speakers.
    """
    drawn = _in_units([counts], unit)
    value, sizes = counts.value, (drawn.unit, len(drawn.systems[0].units), len(counts.numerators))
    if value is None:
        return Interval(None, None, None, *sizes)
    values = _resampled(drawn, samples, seed)[0]
    finite = values[np.isfinite(values)]
    return Interval(value, _percentiles(values), float(finite.std()) if finite.size else None, *sizes)


def _check_pair(a: MetricCounts, b: MetricCounts, name_a: str, name_b: str) -> None:
    if a.metric != b.metric:
        raise UserError(f"{name_a} is measured in {a.metric}, {name_b} in {b.metric}; compare the same metric")
    for mine, other, name, name_other in ((a, b, name_a, name_b), (b, a, name_b, name_a)):
        absent = sorted(set(mine.units) - set(other.units))
        if absent:
            raise UserError(
                f"{METRICS[a.metric].title}: {len(absent)} utterances of {name} are missing in {name_other}: {some(absent)};"
                " a paired comparison needs the same utterances on both sides: decode the same cuts again"
            )
    differing = [id for id, x, y in zip(a.units, a.references, b.references, strict=True) if x != y]
    if differing:
        raise UserError(
            f"the reference texts of {len(differing)} utterances differ between {name_a} and {name_b}: {some(differing)};"
            " decode both with the same manifests"
        )
    elsewhere = [id for id, x, y in zip(a.units, a.speakers, b.speakers, strict=True) if x != y]
    if elsewhere:
        raise UserError(
            f"the speakers of {len(elsewhere)} utterances differ between {name_a} and {name_b}: {some(elsewhere)};"
            " decode both with the same manifests"
        )
    if METRICS[a.metric].on_frames or a.metric == "per":
        unequal = [id for id, x, y in zip(a.units, a.denominators[0], b.denominators[0], strict=True) if x != y]
        if unequal:
            what = "frames" if METRICS[a.metric].on_frames else "reference phones"
            raise UserError(
                f"{name_a} and {name_b} count different numbers of {what} in {len(unequal)} utterances: {some(unequal)};"
                " score both with the same features and the same alignment"
            )


def paired_comparison(
    a: MetricCounts,
    b: MetricCounts,
    unit: str = "utterance",
    samples: int = SAMPLES,
    seed: int = 0,
    names: tuple[str, str] = ("a", "b"),
) -> Comparison:
    """Compares two systems on the same draws of units; systems with several seeds have their seeds drawn independently.

    What is drawn is as in `bootstrap_interval`.

    Raises `UserError`, naming ids, where utterances, reference texts or counts of frames differ between the two.
    """
    _check_pair(a, b, *names)
    drawn = _in_units([a, b], unit)
    sizes = (drawn.unit, len(drawn.systems[0].units), len(a.numerators), len(b.numerators))
    if a.value is None or b.value is None:
        return Comparison(a.metric, a.value, b.value, None, None, None, *sizes)
    values = _resampled(drawn, samples, seed)
    differences = values[0] - values[1]
    probability = _share_better(differences, METRICS[a.metric].higher_is_better)
    return Comparison(a.metric, a.value, b.value, a.value - b.value, _percentiles(differences), probability, *sizes)


def _share_better(differences: np.ndarray, higher_is_better: bool) -> float | None:
    finite = differences[np.isfinite(differences)]
    if finite.size == 0:
        return None
    better = finite > _TIE if higher_is_better else finite < -_TIE
    return float(better.mean() + 0.5 * (np.abs(finite) <= _TIE).mean())


def gain_transferred(
    baseline: MetricCounts,
    ensemble: MetricCounts,
    distilled: MetricCounts,
    unit: str = "speaker",
    samples: int = SAMPLES,
    seed: int = 0,
) -> GainTransferred:
    """The share of the ensemble's gain that one student has, all three resampled together over units and seeds.

    Raises `UserError` as `paired_comparison` does.
    """
    _check_pair(ensemble, baseline, "the ensemble", "the baseline")
    _check_pair(distilled, baseline, "the distilled model", "the baseline")
    values = [system.value for system in (baseline, ensemble, distilled)]
    if values[0] is None or values[1] is None or values[2] is None:
        return GainTransferred(None, None, None, None, None, False)
    resampled = _resampled(_in_units([baseline, ensemble, distilled], unit), samples, seed)
    gains, own = resampled[1] - resampled[0], resampled[2] - resampled[0]
    interval = _percentiles(gains)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = _percentiles(np.where(np.abs(gains) > _TIE, own / gains, np.nan))
    gain = values[1] - values[0]
    counts = interval is not None and (interval[0] > 0 or interval[1] < 0)
    return GainTransferred(
        share=(values[2] - values[0]) / gain if abs(gain) > _TIE else None,
        ci95=shares,
        ensemble_gain=gain,
        ensemble_gain_ci95=interval,
        p_distilled_beats_baseline=_share_better(own, METRICS[baseline.metric].higher_is_better),
        counts=counts,
    )
