"""The deployable model: a bundle on disk, and `Student`, which turns audio or features into log-likelihoods of senones.

Comes in: a bundle (the model directory that training leaves), or the folder of an `Ensemble` of bundles, and audio, features or
lhotse cuts; goes out: ``(T, C)`` log-likelihoods for a decoding graph of the same senones, also as a `k2.DenseFsaVec`. Open
``student.py`` first, then ``bundle.py`` and ``ensemble.py``.
"""

from asr_distill.student.bundle import BundleConfig, BundleParts, set_acoustic_scale
from asr_distill.student.ensemble import Ensemble, load_model
from asr_distill.student.scoring_pass import Timings
from asr_distill.student.student import Student

__all__ = ["BundleConfig", "BundleParts", "Ensemble", "Student", "Timings", "load_model", "set_acoustic_scale"]
