"""Networks from inputs to logits, by name and strict configuration, and their weights on disk without pickle.

Comes in: ``{"name": "senone_dnn", "layers": 8, ...}`` and a generator, or a model directory; goes out: a `torch.nn.Module`
that maps ``(N, input_dim)`` inputs to ``(N, num_senones)`` logits. Open ``senone_dnn.py`` first, then ``registry.py``.
"""

from asr_distill.models.checkpoint import load_network, load_tensors, save_network, save_tensors
from asr_distill.models.constraints import apply_max_norm
from asr_distill.models.imports import import_networks, imported_networks
from asr_distill.models.registry import build_network, complete_network_config, count_parameters, register_network
from asr_distill.models.senone_dnn import ModelConfig, SenoneDnn

__all__ = [
    "ModelConfig",
    "SenoneDnn",
    "apply_max_norm",
    "build_network",
    "complete_network_config",
    "count_parameters",
    "import_networks",
    "imported_networks",
    "load_network",
    "load_tensors",
    "register_network",
    "save_network",
    "save_tensors",
]
