"""Tables 3 and 4 on four test examples."""

from __future__ import annotations

import pytest
import torch

from asr_distill.base import UserError
from asr_distill.specialists import conditional_accuracy, conditional_counts, gain_by_coverage, top_one

LABELS = torch.tensor([0, 1, 2, 3])
PROBS = torch.tensor([[0.4, 0.1, 0.5, 0.0], [0.3, 0.2, 0.5, 0.0], [0.1, 0.1, 0.8, 0.0], [0.9, 0.1, 0.0, 0.0]])
CLUSTERS = [torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([1, 3])]


def test_conditional_accuracy_by_hand() -> None:
    assert top_one(PROBS.log(), LABELS).tolist() == [False, False, True, False]
    # Example 0 among {0, 1}: right. 1 among {0, 1}: wrong, among {1, 2}: wrong, among {1, 3}: right. 2 among {1, 2}: right.
    # 3 among {1, 3}: wrong.
    correct, total = conditional_counts(PROBS.log(), LABELS, CLUSTERS)
    assert correct.tolist() == [1, 1, 1, 0]
    assert total.tolist() == [1, 3, 1, 1]
    assert conditional_accuracy(PROBS.log(), LABELS, CLUSTERS) == pytest.approx(50.0)
    with pytest.raises(UserError, match="no test example"):
        conditional_accuracy(PROBS[:1].log(), LABELS[:1], [torch.tensor([2, 3])])


def test_gain_by_the_specialists_that_cover_the_true_class() -> None:
    before, after = torch.tensor([False, True, True, False]), torch.tensor([True, True, False, True])
    rows = gain_by_coverage(before, after, LABELS, torch.tensor([1, 3, 1, 5]), most=3)
    assert [row["examples"] for row in rows] == [0, 2, 0, 2]
    assert [row["delta"] for row in rows] == [0, 0, 0, 1]
    assert rows[0]["difference"] is None
    assert rows[1]["relative_change"] == 0.0
    assert rows[3]["difference"] == 50.0
    assert rows[3]["relative_change"] == 100.0
