"""``systems.yaml``: every network of a recipe that is trained, combined, taught or decoded is one entry, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr_distill.base import UserError

# The keys that say what an entry is, exactly one of which each has, and the keys that go with each.
_NETWORK = frozenset("config set seeds start share frames search accuracy".split())
_LESSON = frozenset("soft_weight loss soften".split())
KINDS: dict[str, frozenset[str]] = {
    "train": _NETWORK | {"sequence"},
    "distil": _NETWORK | _LESSON | {"temperature", "hard_weight", "point"},
    "sweep": frozenset("config set seeds start share frames".split()) | _LESSON | {"temperatures", "hard_weights"},
    "combine": frozenset("members size search accuracy".split()),
    "store": frozenset("mode frames temperatures top_k tail_rank num_samples autocast".split()),
    "curve": frozenset(),
    "model": frozenset("graphs labels search".split()),
    "again": frozenset({"search"}),
}
EVERYWHERE = frozenset({"label", "note"})


@dataclass(frozen=True)
class Search:
    """How a system is searched; what is not said is as the table's ``search`` has it.

    Args:
        language_models: names of the graphs; the last one is the main one, whose scale the bundle keeps.
        scales: acoustic scales that are tried on dev.
        scales_from: another entry, whose choice on dev is taken instead.
        phones: also a phone loop, for phone error rates.
        engine: ``k2``, ``kaldi``, or ``auto``: k2 where it is installed.
        beam, lattice_beam, max_active: of the search; the engine's own by default.
        autocast: precision of the network.
        max_bad_share: share of utterances that may be left out, 0 to 1; they are reported by id.
    """

    language_models: tuple[str, ...] = ()
    scales: tuple[float, ...] = (0.05, 0.07, 0.1, 0.14, 0.2, 0.28)
    scales_from: str | None = None
    phones: bool = True
    engine: Literal["auto", "k2", "kaldi"] = "auto"
    beam: float | None = None
    lattice_beam: float = 8.0
    max_active: int | None = None
    autocast: Literal["auto", "bf16", "off"] = "off"
    max_bad_share: float = 0.0


@dataclass(frozen=True)
class Data:
    """Where the stages of the recipe left what all entries read, relative to the run; also the defaults of their options.

    Args:
        senones: folder of senones.json, priors.json, ``frames/`` and ``labels/`` (train, dev, test).
        graphs: folder of the graphs ``NAME_...`` of each language model, and of ``phones``.
        alignments: folder of ``alignments_SPLIT.jsonl.gz``.
        lang: lang directory, for word times and perplexities; null where there is none.
        training_cuts: manifest whose transcripts tell test sentences that were seen in training.
        allow_shared_speakers: train and dev may have speakers in common.
    """

    senones: Path = Path("senones")
    graphs: Path = Path("graph")
    alignments: Path = Path("align")
    lang: Path | None = Path("lang")
    training_cuts: Path = Path("manifests/cuts_train.jsonl.gz")
    allow_shared_speakers: bool = False


@dataclass(frozen=True)
class Entry:
    """One system, store or sweep. Exactly one of the first keys says which; see ``KINDS`` for the keys that go with it.

    Args:
        train: a network on labels (``hard``), or whole utterances (``lfmmi``, ``smbr``; needs ``start``).
        distil: a student of a store, or of a system that is asked on the fly.
        sweep: the same at each of several temperatures and hard weights; dev frame accuracy chooses.
        combine: an ensemble of the seeds of ``members``: ``arithmetic``, ``geometric``, ``weighted``, ``best``.
        store: soft targets of a system.
        curve: gain against the number of models, of a system's seeds.
        model: a folder of the run that a stage left, such as a GMM; it is only searched.
        again: another search of a system's first seed.
        config: training configuration, relative to the table's file or to the working directory.
        set: options over it, with dots for inner keys (``network.width: 256``).
        seeds: of a network, ``0-4`` or a list.
        start: a system whose weights it starts from: those of its seed, or of the first.
        share: of the training utterances, 0 to 1.
        frames: another transfer set: a folder of the run with a frame store.
        temperature, hard_weight, soft_weight, loss, soften: of the equation, see `asr_distill.distillation.soft_target_loss`.
        point: a sweep, whose choice gives temperature and hard weight.
        temperatures, hard_weights: of a sweep; of a store the first says where topk can be read.
        members, size: of an ensemble; by default all seeds.
        mode, top_k, tail_rank, num_samples: of a store.
        autocast: precision in which a store's teacher is asked.
        sequence: options of lfmmi and smbr.
        graphs, labels: of a model whose senones are not those of the run: the folder of its graphs within that of all, and the
            folder of the cuts that it is searched on.
        search: how it is searched; false for a network that is not.
        accuracy: splits whose frame accuracy is measured.
        label, note: for reports.
    """

    train: Literal["hard", "lfmmi", "smbr"] | None = None
    distil: str | None = None
    sweep: str | None = None
    combine: Literal["arithmetic", "geometric", "weighted", "best"] | None = None
    store: str | None = None
    curve: str | None = None
    model: Path | None = None
    again: str | None = None
    config: Path | None = None
    set: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    start: str | None = None
    share: float = 1.0
    frames: Path | None = None
    temperature: float | None = None
    hard_weight: float | None = None
    soft_weight: float = 1.0
    loss: Literal["paper", "convex", "student_at_one", "corrected", "logits"] = "paper"
    soften: Literal["ensemble", "members"] = "ensemble"
    point: str | None = None
    temperatures: tuple[float, ...] | None = None
    hard_weights: tuple[float, ...] = (0.0, 0.5, 1.0)
    members: str | None = None
    size: int | None = None
    mode: Literal["dense", "topk", "sampled"] = "topk"
    top_k: int | None = None
    tail_rank: int | None = None
    num_samples: int | None = None
    autocast: Literal["auto", "bf16", "off"] = "off"
    sequence: dict[str, Any] = field(default_factory=dict)
    graphs: str | None = None
    labels: Path | None = None
    search: Search | None = field(default_factory=Search)
    accuracy: tuple[Literal["train", "dev", "test"], ...] = ("train", "dev", "test")
    label: str = ""
    note: str | None = None

    @property
    def kind(self) -> str:
        """Return which of ``KINDS`` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def named(self) -> tuple[str, ...]:
        """Return the entries that this one reads."""
        names = (self.distil, self.sweep, self.store, self.curve, self.again, self.members, self.start, self.point)
        tuned = self.search.scales_from if self.search is not None else None
        return tuple(name for name in (*names, tuned) if name is not None)


@dataclass(frozen=True)
class Table:
    """A recipe's systems, in the order of the file, and what is shown of them.

    Args:
        recipe, title, about: of the report.
        data: where the stages left what entries read.
        systems: by name.
        default: entries and tables that ``asr-distill run`` makes without ``--only``.
        tables: rows by the name of the table; see `asr_distill.report`.
        comparisons: ``[a, b, metric]``, the difference a - b.
        report: further keys of the report's configuration.
    """

    recipe: str
    systems: dict[str, Entry]
    title: str = ""
    about: str = ""
    data: Data = field(default_factory=Data)
    default: tuple[str, ...] = ()
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    comparisons: tuple[tuple[str, ...], ...] = ()
    report: dict[str, Any] = field(default_factory=dict)

    def wanted(self, names: tuple[str, ...]) -> list[str]:
        """Return the entries that these names of entries and tables mean, and those they read, each behind what it reads."""
        order: list[str] = []
        for name in names or self.default or tuple(self.systems):
            rows = self.tables[name]["rows"] if name in self.tables else [name]
            for row in rows:
                if row not in self.systems:
                    raise UserError(f"there is no entry or table {row!r}; known: {', '.join([*self.systems, *self.tables])}")
                self._place(row, order, ())
        return order

    def _place(self, name: str, order: list[str], above: tuple[str, ...]) -> None:
        if name in above:
            raise UserError(f"the entries {' -> '.join([*above[above.index(name) :], name])} read each other in a circle")
        if name not in order:
            for needed in self.systems[name].named():
                self._place(needed, order, (*above, name))
            order.append(name)
