"""Shares of the training utterances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.data.frame_store import StoredCut
from asr_distill.data.utterance_share import frames_of_share, original_id


@dataclass
class Store:
    """Cuts of three frames each."""

    cut_ids: list[str]

    def __iter__(self):
        return (StoredCut(name, None, 3 * index, 3 * index + 3) for index, name in enumerate(self.cut_ids))


def test_a_perturbed_copy_belongs_to_its_original() -> None:
    assert original_id("a_sp0.9") == "a"
    assert original_id("a_sp1.1_vp0.5") == "a"
    assert original_id("spk_sp") == "spk_sp"


def test_copies_are_chosen_with_their_original() -> None:
    store = Store(["a", "b", "a_sp0.9", "b_sp0.9"])
    frames = frames_of_share(store, 0.5)
    assert frames.tolist() in ([0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11])


@pytest.mark.parametrize("order", [1, -1])
def test_shares_are_nested_and_do_not_depend_on_order(order: int) -> None:
    names = [f"u{number}" for number in range(100)][::order]
    small, large = (frames_of_share(Store(names), share) for share in (0.03, 0.2))
    chosen = {names[frame // 3] for frame in small}
    assert len(small) == 9
    assert len(large) == 60
    assert chosen <= {names[frame // 3] for frame in large}
    assert chosen == {
        sorted_names[frame // 3] for sorted_names in [sorted(names)] for frame in frames_of_share(Store(sorted_names), 0.03)
    }
    np.testing.assert_array_equal(frames_of_share(Store(names), 1.0), np.arange(300))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_no_such_share(share: float) -> None:
    with pytest.raises(UserError, match="above 0"):
        frames_of_share(Store(["a"]), share)
