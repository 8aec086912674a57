"""Shifts of the logits of some classes: by hand, and against trying every shift."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.images.mnist.bias import error_curve, fit_to_frequency, fit_to_labels, predict

# Two images of class 0, three of class 2; class 2 is always too low by 1, 2, 3 and rightly low by 5, 6.
LOGITS = torch.tensor([[5.0, 0, 0], [6.0, 0, 0], [1.0, 0, 0], [0, 2.0, 0], [0, 3.0, 0]])
LABELS = torch.tensor([0, 0, 2, 2, 2])


def test_by_hand() -> None:
    assert predict(LOGITS).tolist() == [0, 0, 0, 1, 1]
    assert predict(LOGITS, (2,), 2.5).tolist() == [0, 0, 2, 2, 1]
    assert error_curve(LOGITS, LABELS, (2,), torch.tensor([0.0, 1.5, 2.5, 4.0, 5.5, 7.0])).tolist() == [3, 2, 1, 0, 1, 2]
    assert fit_to_labels(LOGITS, LABELS, (2,)) == 4.0  # the middle of 3 to 5
    assert fit_to_frequency(LOGITS, (2,), 0.4) == 2.5
    assert fit_to_frequency(LOGITS, (2,), 0.0) == 0.5
    assert fit_to_frequency(LOGITS, (2,), 1.0) == 6.5


@given(seed=st.integers(0, 10_000), group=st.sampled_from([(0,), (3,), (1, 2)]), share=st.floats(0, 1))
def test_fits_do_what_they_say(seed: int, group: tuple[int, ...], share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits, labels = torch.randn(30, 4, generator=generator), torch.randint(4, (30,), generator=generator)
    inside = torch.isin(predict(logits, group, fit_to_frequency(logits, group, share)), torch.tensor(group))
    assert int(inside.sum()) == round(share * 30)
    shifts = torch.linspace(-8, 8, 1601)
    errors = error_curve(logits, labels, group, shifts)
    for position in (0, 700, 801, 1600):
        assert int(errors[position]) == int((predict(logits, group, float(shifts[position])) != labels).sum())
    best = fit_to_labels(logits, labels, group)
    assert int((predict(logits, group, best) != labels).sum()) <= int(errors.min())
