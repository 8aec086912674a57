"""How many frames a cut has: of features that are stored with it, and of those that are computed from its audio. One rule."""

from __future__ import annotations

import math
from typing import Any

from asr_distill.features.fbank import Fbank40Config
from asr_distill.features.resampling import count_at_speed, resampled_count

_WHOLE = 1e-3  # seconds by which a cut and what is stored of it may differ
_ROUNDING = 1e-6  # of a frame; times are rounded by whoever wrote them


def frames_of_samples(num_samples: int, sampling_rate: int, config: Fbank40Config, speed: float = 1.0) -> int:
    """Frames of ``num_samples`` at ``sampling_rate``: resampled to the configuration's rate, then played at ``speed``."""
    return config.num_frames(count_at_speed(resampled_count(num_samples, sampling_rate, config.sampling_rate), speed))


def window_of(cut: Any) -> tuple[int, int] | None:
    """The first frame and the number of frames that a cut has of its stored features; None where it has all of them."""
    stored = cut.features
    if abs(stored.start - cut.start) < _WHOLE and abs(stored.duration - cut.duration) < _WHOLE:
        return None
    first = frames_of_time(cut.start - stored.start, stored.frame_shift)
    return first, max(0, min(frames_of_time(cut.duration, stored.frame_shift), stored.num_frames - first))


def frames_of_time(seconds: float, frame_shift: float) -> int:
    """Whole frames in so many seconds, rounded, halves up."""
    return max(0, math.floor(seconds / frame_shift + 0.5 + _ROUNDING))


def num_frames_of(cut: Any) -> int:
    """The frames of a cut's stored features, which a window of them has in part."""
    window = window_of(cut)
    return int(cut.features.num_frames) if window is None else window[1]
