"""Several cuts of a frame store at a time: the blocks by hand, and the answers of one cut at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from asr_distill.data import FrameStore
from asr_distill.data.frame_store import StoredCut
from asr_distill.student import Student
from asr_distill.student.ensemble import Ensemble
from asr_distill.student.stored_posteriors import cut_blocks, stored_posteriors


def test_blocks_by_hand() -> None:
    ends = [3, 5, 9, 19, 20, 21]
    cuts = [StoredCut(f"u{end}", None, start, end) for start, end in zip([0, *ends], ends, strict=False)]
    assert [[cut.id for cut in block] for block in cut_blocks(cuts, 5)] == [["u3", "u5"], ["u9"], ["u19"], ["u20", "u21"]]
    assert list(cut_blocks([], 5)) == []


@pytest.mark.parametrize("block_frames", [1, 90, 4096])
def test_each_cut_has_the_answer_that_it_has_alone(corpus: Any, block_frames: int) -> None:
    teacher, store = Student.load(corpus.train()), FrameStore.open(corpus.store("speaker"))
    cuts = list(store)[::-1]
    found = list(stored_posteriors(teacher, store, cuts, block_frames=block_frames))
    assert [cut for cut, _ in found] == cuts
    for cut, rows in found:
        alone = teacher.log_posteriors(torch.from_numpy(store.utterance(cut.id)[0].copy()), normalised=True)
        torch.testing.assert_close(rows, alone, rtol=0, atol=1e-5)


def test_cuts_of_one_block_are_answered_by_the_members_of_their_folds(corpus: Any, tmp_path: Path) -> None:
    corpus.train("--seeds", "0-1", name="folds")
    paths = [corpus.folder / "models/folds" / seed for seed in ("seed0", "seed1")]
    store = FrameStore.open(corpus.store("speaker"))
    ensemble = Ensemble.of_bundles(paths, folds={"ann": [1], "bob": [0], "u4": [0, 1]})
    for cut, rows in stored_posteriors(ensemble, store, list(store)):
        features = store.utterance(cut.id)[0].copy()
        torch.testing.assert_close(
            rows, ensemble.log_posteriors_for(cut.id, cut.speaker, features, normalised=True), rtol=0, atol=1e-5
        )


def test_bits_do_not_depend_on_what_is_done_and_done_blocks_are_not_asked_about(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, store = Student.load(corpus.train()), FrameStore.open(corpus.store("speaker"))
    cuts, asked = list(store), []
    whole = {cut.id: rows for cut, rows in stored_posteriors(teacher, store, cuts, block_frames=90)}
    answer = Student.log_posteriors_for
    monkeypatch.setattr(
        Student,
        "log_posteriors_for",
        lambda self, cut, *rest, **options: (asked.append(cut), answer(self, cut, *rest, **options))[1],
    )
    done = {"u1", "u2", "u3"}
    rest = dict(stored_posteriors(teacher, store, cuts, lambda id: id in done, block_frames=90))
    assert [[cut.id for cut in block] for block in cut_blocks(cuts, 90)] == [["u1", "u2"], ["u3"], ["u4"]]
    assert asked == ["u4"]
    assert [cut.id for cut in rest] == ["u4"]
    assert all(rows.equal(whole[cut.id]) for cut, rows in rest.items())
