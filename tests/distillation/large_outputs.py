"""Which operations make arrays of a size."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class LargeOutputs(TorchDispatchMode):
    """Notes each operation whose result has ``size`` elements or more."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.operations: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.numel() >= self.size:
            self.operations.append(str(func))
        return result
