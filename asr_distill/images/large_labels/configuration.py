"""What a recipe with many classes trains and compares, as strict YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from asr_distill.base import from_mapping, to_mapping
from asr_distill.distillation.checks import check_options
from asr_distill.distillation.combine import check_temperature
from asr_distill.images.augmentation import Distortion
from asr_distill.images.glyphs import GlyphConfig
from asr_distill.training import TrainingConfig

Settings = dict[str, Any]


@dataclass(frozen=True)
class OmniglotConfig:
    """Omniglot at ``size`` pixels; the first so many ``classes``, or all; training images distorted by ``distortion``."""

    classes: int | None = None
    size: int = 32
    distortion: Distortion = field(
        default_factory=lambda: Distortion(rotation=15.0, scale=0.15, stretch=0.1, shear=0.2, translation=2.5, elastic=0.7)
    )


@dataclass(frozen=True)
class ClusterConfig:
    """Clusters of classes: ``number`` of ``size`` classes each, from the covariance of the generalist's predictions.

    images: predictions that are made, of images of ``part``, which are perturbed anew as often as that takes. Dev where a
    generalist knows its training images by heart. seed, restarts: of the k-means.
    """

    number: int = 60
    size: int = 300
    part: Literal["train", "dev"] = "train"
    images: int = 50_000
    restarts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 2 or self.restarts < 1:
            raise ValueError(f"images is {self.images}, restarts {self.restarts}; expected at least 2 and 1")


@dataclass(frozen=True)
class SpecialistConfig:
    """Specialists: ``images`` that each is trained on, in ``training.epochs`` epochs.

    training: keys of `TrainingConfig` over the generalist's. The others are section 6.1's, for the specialists with soft
    targets, see `asr_distill.specialists.SpecialistDistillation`; with ``full_softmax`` these keep all outputs.
    """

    images: int = 50_000
    training: Settings = field(default_factory=dict)
    temperature: float = 1.0
    soft_weight: float = 1.0
    own_soft_weight: float = 0.0
    full_softmax: bool = False

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.images < 2 or not self.soft_weight >= 0 or not self.own_soft_weight >= 0:
            weights = f"soft_weight {self.soft_weight}, own_soft_weight {self.own_soft_weight}"
            raise ValueError(f"images is {self.images}, {weights}; expected at least 2 and weights of 0 or more")


@dataclass(frozen=True)
class DistilledBackConfig:
    """One network of the generalist's shape on the combined predictions of generalist and specialists."""

    training: Settings = field(default_factory=dict)
    temperature: float = 2.0
    soft_weight: float = 1.0
    hard_weight: float = 0.5
    start_from_generalist: bool = True

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        check_options(self.soft_weight, self.hard_weight, "paper", "mean")


@dataclass(frozen=True)
class ControlConfig:
    """What the same training cost buys otherwise. wider, mixture: networks, as keys of `TrainingConfig.network`; none leaves
    one out. longer, ensemble: whether they are trained."""

    longer: bool = True
    ensemble: bool = True
    wider: Settings | None = field(default_factory=lambda: {"name": "image_cnn", "channels": [48, 96, 192], "hidden": 512})
    mixture: Settings | None = field(default_factory=lambda: {"name": "image_mixture", "experts": 4})


@dataclass(frozen=True)
class LargeLabelConfig:
    """A recipe with many classes. Exactly one of ``omniglot`` and ``glyphs`` says what the images are.

    images_per_epoch: of glyphs, whose images never end. training: keys of `TrainingConfig` for the generalist, and for all
    others where they do not say otherwise. top_n: the generalist's classes that call specialists. samples: of the bootstrap.
    """

    omniglot: OmniglotConfig | None = None
    glyphs: GlyphConfig | None = None
    images_per_epoch: int = 200_000
    training: Settings = field(default_factory=dict)
    clusters: ClusterConfig = field(default_factory=ClusterConfig)
    specialist: SpecialistConfig = field(default_factory=SpecialistConfig)
    distilled_back: DistilledBackConfig = field(default_factory=DistilledBackConfig)
    controls: ControlConfig = field(default_factory=ControlConfig)
    top_n: int = 1
    samples: int = 10_000

    def __post_init__(self) -> None:
        if (self.omniglot is None) == (self.glyphs is None):
            raise ValueError("exactly one of omniglot and glyphs is to be given: the images")
        if min(self.images_per_epoch, self.samples, self.top_n) < 1:
            found = f"images_per_epoch {self.images_per_epoch}, samples {self.samples}, top_n {self.top_n}"
            raise ValueError(f"{found}: expected 1 or more of each")
        for name, settings in (
            ("training", {}),
            ("specialist.training", self.specialist.training),
            ("distilled_back.training", self.distilled_back.training),
        ):
            from_mapping(TrainingConfig, _over(self.training, settings), name)  # a mistyped key is found before any work

    @property
    def recipe(self) -> str:
        """``omniglot`` or ``glyphs``."""
        return "omniglot" if self.omniglot is not None else "glyphs"

    def training_config(self, settings: Settings, **further: Any) -> TrainingConfig:
        """The generalist's configuration with ``settings`` and then ``further`` over it."""
        return from_mapping(TrainingConfig, _over(self.training, {**settings, **further}), "training")


def _over(settings: Settings, further: Settings) -> Settings:
    return {"keep": "last", "tensorboard": False, **settings, **further}


def as_plain(config: LargeLabelConfig) -> Settings:
    """Plain values, for files and hashes."""
    return to_mapping(config)
