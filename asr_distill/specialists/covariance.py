"""The covariance of a classifier's predictions, accumulated in a stream: one C x C matrix and never all predictions."""

from __future__ import annotations

import torch

from asr_distill.base import UserError

_BLOCK_ROWS = 1024  # a pass over a matrix of 900 MB for a handful of rows costs as much as for a thousand


class PredictionCovariance:
    """Covariance ``(C, C)`` of predictions ``(N, C)`` that come in batches of any size.

    Memory: C x C float32 (900 MB at 15,000 classes) and a block of 1024 predictions. The products are taken about the mean of
    the first block, not about zero, so that nothing cancels at the end (Chan, Golub and LeVeque 1983): with ``a`` that mean,

        cov = (sum (p - a)(p - a)^T - N (mean - a)(mean - a)^T) / (N - 1).

    num_classes: C, at least 2. Raises `UserError` on less, and on batches that are not probabilities over C classes.
    """

    def __init__(self, num_classes: int, device: str | torch.device = "cpu") -> None:
        if num_classes < 2:
            raise UserError(f"{num_classes} class: the covariance of predictions needs at least 2 classes")
        self.num_classes = num_classes
        self.num_predictions = 0
        self._device = torch.device(device)
        self._products: torch.Tensor | None = None  # sum of (p - shift)(p - shift)^T, (C, C) float32
        self._shift: torch.Tensor | None = None  # (C,) float32
        self._sum = self._no_sum()  # of p - shift
        self._pending: list[torch.Tensor] = []

    def update(self, probs: torch.Tensor) -> None:
        """Adds predictions ``(N, C)``: rows of probabilities that sum to 1 (to 1 %, for those stored in half precision).

        Raises `UserError` on another shape, values that are not finite or negative, and rows that do not sum to 1.
        """
        if probs.ndim != 2 or probs.shape[1] != self.num_classes:
            raise UserError(f"predictions have shape {tuple(probs.shape)}, expected (N, {self.num_classes})")
        if not len(probs):
            return
        probs = probs.detach().to(self._device, torch.float32, copy=True)  # rows wait, and the caller may use its own again
        totals = probs.sum(dim=1)
        wrong = ~((totals - 1).abs() <= 1e-2) | (probs.min(dim=1).values < 0)  # a NaN is wrong too
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise UserError(
                f"prediction {self.num_predictions + row} sums to {float(totals[row]):.4g} with the smallest value"
                f" {float(probs[row].min()):.4g}; expected probabilities: give softmax outputs, not logits or log-probabilities"
            )
        self._pending.extend(probs.split(_BLOCK_ROWS))
        self.num_predictions += len(probs)
        if sum(map(len, self._pending)) >= _BLOCK_ROWS:
            self._flush()

    def merge(self, other: PredictionCovariance) -> None:
        """Adds all that ``other`` has seen (its predictions are left as they are there). Raises `UserError` on another C."""
        if other.num_classes != self.num_classes:
            raise UserError(f"covariances of {self.num_classes} and {other.num_classes} classes cannot be merged")
        self._flush()
        other._flush()
        if other._products is None or other._shift is None:
            return
        theirs = (other._products.to(self._device), other._shift.to(self._device), other._sum.to(self._device))
        count = other.num_predictions
        if self._products is None or self._shift is None:
            self._products, self._shift, self._sum = (tensor.clone() for tensor in theirs)
        else:
            products, shift, total = theirs
            theirs_about_theirs = total / count
            theirs_about_ours = theirs_about_theirs + (shift.double() - self._shift.double())
            self._products += products
            _add_outer(self._products, theirs_about_ours, count)
            _add_outer(self._products, theirs_about_theirs, -count)
            self._sum += count * theirs_about_ours
        self.num_predictions += count

    def mean(self) -> torch.Tensor:
        """The mean prediction ``(C,)`` float64. Raises `UserError` before the first."""
        self._flush()
        if self._shift is None:
            raise UserError("no prediction was given: the covariance needs at least 2")
        return self._shift.double() + self._sum / self.num_predictions

    def result(self, consume: bool = False) -> torch.Tensor:
        """The covariance ``(C, C)`` float32, symmetric, divided by N - 1.

        consume: give away the matrix itself instead of a copy (for 15,000 classes 900 MB less), and begin anew.
        Raises `UserError` with fewer than 2 predictions.
        """
        self._flush()
        if self._products is None or self.num_predictions < 2:
            raise UserError(f"{self.num_predictions} predictions: the covariance needs at least 2")
        count, deviation = self.num_predictions, self._sum / self.num_predictions
        matrix = self._products if consume else self._products.clone()
        if consume:
            self._products, self._shift, self._sum, self.num_predictions = None, None, self._no_sum(), 0
        _add_outer(matrix, deviation, -count)
        matrix /= count - 1
        return matrix

    def _no_sum(self) -> torch.Tensor:
        return torch.zeros(self.num_classes, dtype=torch.float64, device=self._device)

    def _flush(self) -> None:
        """Takes the pending rows into the products."""
        if not self._pending:
            return
        rows = torch.cat(self._pending)
        self._pending = []
        if self._products is None or self._shift is None:
            self._products = torch.zeros(self.num_classes, self.num_classes, device=self._device)
            self._shift = rows.double().mean(dim=0).float()
        for block in (rows - self._shift).split(_BLOCK_ROWS):
            self._products.addmm_(block.T, block)
            self._sum += block.sum(dim=0, dtype=torch.float64)


def _add_outer(matrix: torch.Tensor, vector: torch.Tensor, scale: float) -> None:
    """``matrix += scale * vector vector^T`` in place, without a second matrix."""
    column = vector.to(matrix.dtype).unsqueeze(1)
    matrix.addmm_(column, column.T, alpha=scale)
