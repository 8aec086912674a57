"""What is measured, as strict YAML; the defaults are the full measurement, some minutes on two quiet cores."""

from __future__ import annotations

from dataclasses import dataclass, field

from asr_distill.distillation.soft_target_modes import TAIL_RANK, TOP_K

PAPER_SETTINGS = (
    "network={name: senone_dnn, layers: 8, width: 2560, dropout: 0.1}",
    "learning_rate=3.0e-4",
    "weight_decay=0.01",
    "clip_norm=5.0",
    "batch_size=1024",
)
CPU_SETTINGS = ("network={name: senone_dnn, layers: 4, width: 512, dropout: 0.2}", "weight_decay=0.01", "batch_size=512")


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}, expected a number above 0")


@dataclass(frozen=True)
class TrainingCase:
    """One network size.

    config: a training configuration (YAML) or none; settings: ``KEY=VALUE`` on top, as in `asr-distill train --set`.
    num_senones: outputs, where the store does not say. frames: of the synthetic store. block_steps: steps that each side does
    before it is the other's turn. pairs: turns that count, after one that does not.
    goal_matmul, goal_resident: the ratios to reach, or none.
    """

    name: str
    config: str | None = None
    settings: tuple[str, ...] = ()
    num_senones: int = 2000
    frames: int = 300_000
    block_steps: int = 50
    pairs: int = 7
    goal_resident: float | None = 0.95
    goal_matmul: float | None = None

    def __post_init__(self) -> None:
        _require_positive(num_senones=self.num_senones, frames=self.frames, block_steps=self.block_steps, pairs=self.pairs)


@dataclass(frozen=True)
class FeatureCase:
    """``utterances`` synthetic recordings of ``shortest`` to ``longest`` seconds at 16 kHz, passed over ``pairs`` times."""

    utterances: int = 120
    shortest: float = 2.0
    longest: float = 8.0
    pairs: int = 9
    goal: float = 0.9

    def __post_init__(self) -> None:
        _require_positive(utterances=self.utterances, shortest=self.shortest, pairs=self.pairs)
        if self.longest < self.shortest:
            raise ValueError(f"longest is {self.longest} s, expected at least shortest, {self.shortest} s")


@dataclass(frozen=True)
class SearchCase:
    """One vocabulary.

    words: in the vocabulary. sentences: of text for the bigram, for each word. utterances: that are searched.
    noise: of the simulated observations (see `asr_distill.bench.search_task`), chosen for a word error rate of 5 to 15 %.
    beams, max_active (states per frame): all pairs are tried with both engines. Of the word error rates that both reach, the
    one nearest to kaldi-decoder's with the reference_beam and the largest max_active is chosen; then each engine's fastest.
    batch_sizes: utterances that k2 searches at once; the fastest when tuning is measured.
    output_beam, min_active: of k2; the best path is in a lattice however narrow.
    wide_beam: of a search that is wide enough to lose nothing, to tell search errors by.
    """

    words: int
    noise: float
    sentences: int = 10
    utterances: int = 60
    pairs: int = 5
    reference_beam: float = 14.0
    beams: tuple[float, ...] = (11.0, 12.0, 13.0, 14.0, 15.0, 16.0)
    max_active: tuple[int, ...] = (1000, 2000, 7000)
    output_beam: float = 0.5
    min_active: int = 0
    wide_beam: float = 20.0
    batch_sizes: tuple[int, ...] = (1, 4, 16)
    goal: float | None = None

    def __post_init__(self) -> None:
        _require_positive(
            words=self.words, noise=self.noise, sentences=self.sentences, utterances=self.utterances, pairs=self.pairs
        )
        if not (self.beams and self.max_active and self.batch_sizes):
            raise ValueError("beams, max_active and batch_sizes need at least one value each")
        if self.reference_beam not in self.beams:
            raise ValueError(f"reference_beam {self.reference_beam:g} must be one of the beams")


@dataclass(frozen=True)
class SoftTargetCase:
    """One student and a store of its teacher's top-k targets.

    config, settings, num_senones: as in `TrainingCase`. members: of the ensemble. top_k, tail_rank, frames: of the store;
    shard_frames: in each of its shards. temperature: at which targets are read, one of 1, 2, 5, 10. block_steps: batches that
    each side does in its turn. goal: frames read and softened over frames of training steps.
    """

    name: str
    config: str | None = None
    settings: tuple[str, ...] = ()
    num_senones: int = 2000
    members: int = 10
    top_k: int = TOP_K
    tail_rank: int = TAIL_RANK
    temperature: float = 2.0
    frames: int = 100_000
    shard_frames: int = 20_000
    block_steps: int = 20
    pairs: int = 7
    goal: float | None = 10.0

    def __post_init__(self) -> None:
        _require_positive(num_senones=self.num_senones, members=self.members, frames=self.frames, top_k=self.top_k)
        _require_positive(shard_frames=self.shard_frames, block_steps=self.block_steps, pairs=self.pairs)
        if self.temperature not in (1, 2, 5, 10):
            raise ValueError(f"temperature is {self.temperature:g}, expected 1, 2, 5 or 10, which the store is written for")


@dataclass(frozen=True)
class SpecialistCase:
    """Clusters and combined predictions over ``num_classes``, at the paper's size by default.

    predictions: that the covariance is accumulated from. rows: that are combined. passes, restarts: of k-means.
    """

    num_classes: int = 15_000
    num_clusters: int = 61
    size: int = 300
    predictions: int = 4096
    rows: int = 1000
    top_n: int = 1
    passes: int = 3
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive(predictions=self.predictions - 1, rows=self.rows, passes=self.passes, restarts=self.restarts)


@dataclass(frozen=True)
class BenchConfig:
    """Everything that ``asr-distill bench`` measures; threads: of the CPU, none leaves torch's choice."""

    threads: int | None = None
    seed: int = 0
    train: tuple[TrainingCase, ...] = (
        TrainingCase("cpu", settings=CPU_SETTINGS),
        TrainingCase(
            "paper", settings=PAPER_SETTINGS, num_senones=14_000, frames=100_000, block_steps=3, pairs=6, goal_matmul=0.8
        ),
    )
    features: FeatureCase = field(default_factory=FeatureCase)
    soft_targets: tuple[SoftTargetCase, ...] = (
        SoftTargetCase("cpu", settings=CPU_SETTINGS),
        SoftTargetCase("paper", settings=PAPER_SETTINGS, num_senones=14_000, frames=20_000, block_steps=1, pairs=5),
    )
    specialists: tuple[SpecialistCase, ...] = (SpecialistCase(),)
    search: tuple[SearchCase, ...] = (SearchCase(100, 2.2), SearchCase(1000, 1.9), SearchCase(5000, 1.75, goal=1.0))

    def __post_init__(self) -> None:
        if self.threads is not None:
            _require_positive(threads=self.threads)
        for kind, names in (
            ("training", [case.name for case in self.train]),
            ("soft-target", [case.name for case in self.soft_targets]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{kind} cases need different names, found {', '.join(names)}")
