"""One training loop for every network: the data, the objective and the network's description are handed in.

Comes in: a `TrainingConfig`, examples (`FrameExamples` over a frame store, or anything with the same methods) and an objective;
goes out: a model directory, with a log, that a kill can interrupt at any moment without changing a bit of the result. Open
``loop.py`` first: it fits on a page.
"""

from asr_distill.training.configuration import TrainingConfig, load_training_config
from asr_distill.training.evaluation import evaluate
from asr_distill.training.examples import Examples, FrameExamples
from asr_distill.training.loop import train_model
from asr_distill.training.objectives import HardLabels, Objective

__all__ = [
    "Examples",
    "FrameExamples",
    "HardLabels",
    "Objective",
    "TrainingConfig",
    "evaluate",
    "load_training_config",
    "train_model",
]
