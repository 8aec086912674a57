"""Images: data sets, perturbed copies, networks, all in the form that the training loop takes.

Comes in: a folder of files as distributed; goes out: an `ImageSet`, `ImageExamples` over it for `asr_distill.training`, and the
registered networks ``mlp``, ``image_cnn`` and ``image_mixture``. Open ``image_set.py`` first, then ``examples.py``.
"""

from asr_distill.images.augmentation import Augmentation, Distortion, Jitter
from asr_distill.images.examples import ImageExamples
from asr_distill.images.idx import read_images, read_labels
from asr_distill.images.image_set import ImageSet
from asr_distill.images.mixture import ImageMixture, ImageMixtureConfig
from asr_distill.images.networks import ImageCnn, ImageCnnConfig, MlpConfig

__all__ = [
    "Augmentation",
    "Distortion",
    "ImageCnn",
    "ImageCnnConfig",
    "ImageExamples",
    "ImageMixture",
    "ImageMixtureConfig",
    "ImageSet",
    "Jitter",
    "MlpConfig",
    "read_images",
    "read_labels",
]
