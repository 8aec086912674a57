"""report.yaml: which decode directories are which row. Paths are relative to the run, with ``{seed}`` for each seed in turn."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# A number, or `FILE#key.key`: a number read from a JSON file of the run.
Figure = float | str | None


@dataclass(frozen=True)
class SystemConfig:
    """One row. ``decode`` and ``dev`` are decode directories, ``per`` a phone-loop decode of the same split as ``decode``.

    ``train`` is a decode directory (with frame counts) or ``FILE#key`` of a frame accuracy in per cent; ``dev`` likewise.
    ``dev_wer`` is ``FILE#key`` of a word error rate in per cent, where ``dev`` is no decode directory; ``{first}`` in it is
    the first of ``seeds`` that is decoded: the one whose decode of dev chose the scales.
    ``cross_entropy`` is ``FILE#store.key`` in nats per frame on test, null where the file or its store is not there.
    ``model`` is a model directory, for the count of parameters; an ensemble of ``models`` equal members counts it so often.
    ``models`` may be ``FILE#key`` of a number or of the list of members; ``{models}`` in the label is that number.
    ``{engine}`` in the label is what searched, as the decodes recorded it: k2 or kaldi-decoder.
    """

    name: str
    decode: str
    label: str = ""
    lm: str | None = None
    seeds: tuple[int, ...] = (0,)
    dev: str | None = None
    dev_wer: str | None = None
    train: str | None = None
    cross_entropy: str | None = None
    per: str | None = None
    model: str | None = None
    models: int | str | None = 1
    parameters: int | None = None
    temperature: Figure = None
    soft_weight: Figure = None
    hard_weight: Figure = None
    command: str | None = None
    note: str | None = None
    values: dict[str, Figure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ValueError(f"system name {self.name!r}: expected letters, digits, dashes and underscores only")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"system {self.name!r}: seeds {list(self.seeds)}; expected at least one, each once")
        if len(self.seeds) > 1 and "{seed}" not in self.decode:
            raise ValueError(f"system {self.name!r} has {len(self.seeds)} seeds, but decode has no {{seed}}: {self.decode}")


@dataclass(frozen=True)
class ComparisonConfig:
    """System ``a`` against ``b``; the difference is a - b."""

    a: str
    b: str
    metric: str = "wer"


@dataclass(frozen=True)
class GainConfig:
    """The names of the three systems of ``gain_transferred``."""

    baseline: str = "baseline"
    ensemble: str = "ensemble"
    distilled: str = "distilled"
    metric: str = "frame_accuracy"


@dataclass(frozen=True)
class RegainedConfig:
    """Of what a system loses against ``full``, the share that another wins back: ``pairs`` maps the winner to the loser.

    (winner - loser) / (full - loser) in ``metric`` on test: 1 where nothing of the loss is left. Null where the interval of the
    loss itself, full - loser, does not exclude zero.
    """

    full: str
    pairs: dict[str, str]
    metric: str = "frame_accuracy"


@dataclass(frozen=True)
class TableConfig:
    """A table of results.json: systems in the order of its rows, and what some of them win back.

    ``beside``: rows that only stand there to be compared with; where nothing else is there the table has no rows.
    """

    rows: tuple[str, ...]
    title: str = ""
    beside: tuple[str, ...] = ()
    regained: RegainedConfig | None = None


@dataclass(frozen=True)
class ListConfig:
    """A table read from a JSON file of the run: ``rows`` is ``FILE#key.key`` of a list of objects, ``columns`` their keys."""

    rows: str
    columns: tuple[str, ...]
    title: str = ""
    digits: int = 3


@dataclass(frozen=True)
class PublishedConfig:
    """A figure that others published, shown beside ours and never mixed with them."""

    name: str
    wer: float
    lm: str | None = None
    source: str = ""


@dataclass(frozen=True)
class BestOnDev:
    """The WER on test of the system that has the lowest WER on dev; of several, the first that is named.

    Systems of the report that are not there, or have no WER on dev, are left out.
    """

    best_on_dev: tuple[str, ...]


@dataclass(frozen=True)
class ReportConfig:
    """A recipe's report. ``headline`` maps a fixed name to ``SYSTEM.field.field``, to ``FILE#key.key``, to a number, or to
    ``{best_on_dev: [SYSTEM, ...]}``: the WER on test of the one of these whose WER on dev is lowest.

    ``corpus``, ``training_text``, ``training_cuts``, ``words`` (a vocabulary) and ``figures`` (PNG, for HTML) are paths;
    ``pictures`` maps PNG files of the run to captions: they are published too, under ``plots/``, and shown in RESULTS.md;
    ``senones`` is ``FILE#key`` of their count; ``device`` is shown where the decodes did not record theirs.
    """

    recipe: str
    systems: tuple[SystemConfig, ...]
    command: str = ""
    title: str = ""
    about: str = ""
    corpus: str = "manifests/corpus.json"
    unit: str = "speaker"
    samples: int = 10_000
    seed: int = 0
    training_text: str | None = None
    training_cuts: str | None = None
    words: str | None = None
    senones: str | None = None
    device: str | None = None
    comparisons: tuple[ComparisonConfig, ...] = ()
    gain: GainConfig | None = None
    tables: dict[str, TableConfig] = field(default_factory=dict)
    lists: dict[str, ListConfig] = field(default_factory=dict)
    headline: dict[str, BestOnDev | Figure] = field(default_factory=dict)
    values: dict[str, Figure] = field(default_factory=dict)
    published: tuple[PublishedConfig, ...] = ()
    figures: tuple[str, ...] = ()
    pictures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"system {twice[0]!r} is listed twice")
        if self.unit not in ("speaker", "utterance"):
            raise ValueError(f"unit {self.unit!r}: expected speaker or utterance")
        if self.samples < 1:
            raise ValueError(f"samples {self.samples}: expected at least 1")
