"""Log-likelihood of data under the diagonal Gaussian that fits it best, from its sufficient statistics.

Statistics are packed: the last axis holds ``[count, sums (D), sums of squares (D)]``, so pooling is addition and many
hypothetical poolings are one matrix product.
"""

from __future__ import annotations

import numpy as np

LOG_2PI = float(np.log(2 * np.pi))


def pack(counts: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """``(S,), (S, D), (S, D)`` to ``(S, 2D + 1)`` float64."""
    return np.concatenate([counts[:, None], sums, squares], axis=1, dtype=np.float64)


def mean_and_variance(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(..., 2D + 1)`` to means and variances ``(..., D)``; both 0 where the count is 0."""
    dimension = (packed.shape[-1] - 1) // 2
    counts = np.maximum(packed[..., :1], np.finfo(np.float64).tiny)
    means = np.where(packed[..., :1] > 0, packed[..., 1 : dimension + 1] / counts, 0.0)
    seconds = np.where(packed[..., :1] > 0, packed[..., dimension + 1 :] / counts, 0.0)
    return means, np.maximum(seconds - means**2, 0.0)


def log_likelihood(packed: np.ndarray, variance_floor: np.ndarray) -> np.ndarray:
    r"""The data's log-likelihood under its own Gaussian whose variances are at least the floor, in nats.

    .. math:: L = -\frac{n}{2} \sum_d \left( \log 2\pi + \log v_d + s_d^2 / v_d \right), \quad v_d = \max(s_d^2, f_d)

    With :math:`s_d^2` the data's variance, :math:`v_d` is the best variance that obeys the floor; so splitting data in two
    never lowers the likelihood. (Where the last term is taken as 1 throughout, it can.)

    Args:
        packed: ``(..., 2D + 1)``; a count of 0 gives 0.
        variance_floor: ``(D,)``, above 0.

    Returns:
        ``(...)`` float64.
    """
    _, variances = mean_and_variance(packed)
    floored = np.maximum(variances, variance_floor)
    return -0.5 * packed[..., 0] * (LOG_2PI + np.log(floored) + variances / floored).sum(axis=-1)
