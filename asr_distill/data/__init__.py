"""Data: corpora prepared as lhotse manifests, checks on them, and the frame store that networks are trained from.

Comes in: corpora in their own layout, then CutSets with features and senone labels. Goes out: manifests, and memory-mapped
frames of which any batch of 26-frame windows is gathered on the device. Open ``corpora.py`` first, then ``frame_store.py``.
"""

from asr_distill.data.checks import check_cuts, check_disjoint_speakers, load_cuts, load_utterances
from asr_distill.data.frame_sampler import FrameSampler
from asr_distill.data.frame_store import IGNORE_INDEX, FrameStore, StoredCut, write_frame_store
from asr_distill.data.window_gatherer import WindowGatherer

__all__ = [
    "IGNORE_INDEX",
    "FrameSampler",
    "FrameStore",
    "StoredCut",
    "WindowGatherer",
    "check_cuts",
    "check_disjoint_speakers",
    "load_cuts",
    "load_utterances",
    "write_frame_store",
]
