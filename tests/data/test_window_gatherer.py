import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.data import IGNORE_INDEX, WindowGatherer, write_frame_store
from asr_distill.features import ContextWindow

HASH = "a" * 64
LENGTHS = (30, 1, 7, 26, 2, 40)


@pytest.fixture(scope="module")
def store(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gather")
    cuts = [stores.make_cut(folder / "fbank", f"u{i}", length) for i, length in enumerate(LENGTHS)]
    return write_frame_store(folder / "store", cuts, "none", senones_hash=HASH)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize(("left", "right"), [(20, 5), (0, 0), (2, 0), (0, 3), (45, 45)])
def test_windows_are_those_of_each_utterance_by_itself(store, resident, left, right):
    gatherer, window = WindowGatherer(store, left, right, resident=resident), ContextWindow(left, right)
    expected = np.concatenate([window(np.array(store.utterance(cut.id)[0])) for cut in store])
    found = gatherer.gather(torch.arange(store.num_frames))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected)
    for index, cut in enumerate(store):
        np.testing.assert_array_equal(gatherer.utterance(cut.id).numpy(), expected[cut.start : cut.end])
        np.testing.assert_array_equal(gatherer.utterance(index).numpy(), expected[cut.start : cut.end])


@settings(max_examples=40, deadline=None)
@given(frames=st.lists(st.integers(0, sum(LENGTHS) - 1), max_size=50))
def test_any_batch_with_repeats_in_both_ways(store, frames):
    indices = torch.tensor(frames, dtype=torch.int64)
    resident, mapped = (WindowGatherer(store, resident=flag).batch(indices) for flag in (True, False))
    assert resident["inputs"].shape == (len(frames), 1040)
    for name in ("inputs", "labels", "frame_indices"):
        assert torch.equal(resident[name], mapped[name])
    np.testing.assert_array_equal(resident["inputs"][:, 800:840].numpy(), store.features[indices.numpy()])


@pytest.mark.parametrize("resident", [True, False])
def test_frames_without_a_label_carry_torchs_ignore_index(store, resident):
    labels = WindowGatherer(store, resident=resident).labels(torch.arange(store.num_frames))
    assert labels.dtype == torch.int64
    stored = np.array(store.labels)
    np.testing.assert_array_equal(labels.numpy(), np.where(stored < 0, IGNORE_INDEX, stored))
    assert IGNORE_INDEX in labels
    loss = F.cross_entropy(torch.zeros(store.num_frames, 10), labels)
    assert float(loss) == pytest.approx(np.log(10))


def test_a_buffer_can_be_filled(store):
    gatherer, indices = WindowGatherer(store), torch.tensor([0, 5, 50])
    out = torch.empty(3, 1040)
    assert gatherer.gather(indices, out=out) is out
    assert torch.equal(out, gatherer.gather(indices))


def test_large_stores_stay_on_disk(store):
    assert WindowGatherer(store).resident
    assert not WindowGatherer(store, resident_bytes=1000).resident


def test_half_precision_comes_back_as_float32(stores, tmp_path):
    cuts = [stores.make_cut(tmp_path / "fbank", "u", 30)]
    store = write_frame_store(tmp_path / "store", cuts, "speaker", senones_hash=HASH, dtype="float16")
    for resident in (True, False):
        gatherer = WindowGatherer(store, resident=resident)
        expected = ContextWindow()(np.array(store.features).astype(np.float32))
        found = gatherer.gather(torch.arange(30))
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), expected)
        assert gatherer.utterance(0).dtype == torch.float32


def test_bad_windows_and_cuts_are_refused(store):
    with pytest.raises(UserError, match="negative"):
        WindowGatherer(store, left=-1)
    with pytest.raises(UserError, match="no cut"):
        WindowGatherer(store).utterance("nobody")
