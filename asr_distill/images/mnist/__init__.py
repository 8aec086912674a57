"""MNIST and what the paper's section 3 did with it: every experiment as a run of the one training loop.

Comes in: a folder with the four idx files and a `MnistConfig`; goes out: a folder of runs, and the figures and pictures made
from their logits. Open ``experiments.py`` first: it lists the runs.
"""

from asr_distill.images.mnist.configuration import MnistConfig
from asr_distill.images.mnist.data import locate_mnist, read_mnist
from asr_distill.images.mnist.estimate import estimate
from asr_distill.images.mnist.experiments import plan
from asr_distill.images.mnist.figures import collect
from asr_distill.images.mnist.running import run_all

__all__ = ["MnistConfig", "collect", "estimate", "locate_mnist", "plan", "read_mnist", "run_all"]
