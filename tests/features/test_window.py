import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import UserError
from asr_distill.features import ContextWindow


def test_by_hand():
    features = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    expected = [
        [1, 10, 1, 10, 1, 10, 2, 20],  # two to the left, oldest first, the frame itself, one to the right
        [1, 10, 1, 10, 2, 20, 3, 30],
        [1, 10, 2, 20, 3, 30, 3, 30],
    ]
    np.testing.assert_array_equal(ContextWindow(left=2, right=1)(features), expected)


def test_each_input_predicts_the_21st_of_26_frames():
    features = np.arange(60, dtype=np.float32)[:, None].repeat(40, axis=1)
    inputs = ContextWindow()(features)
    assert inputs.shape == (60, 1040)
    frames = inputs.reshape(60, 26, 40)
    np.testing.assert_array_equal(frames[:, 20], features)
    np.testing.assert_array_equal(frames[30, :, 0], np.arange(10, 36))


@settings(max_examples=60, deadline=None)
@given(
    num_frames=st.integers(1, 40),
    dim=st.integers(1, 4),
    left=st.integers(0, 25),
    right=st.integers(0, 25),
    seed=st.integers(0, 9),
)
def test_numpy_and_torch_agree_with_a_loop(num_frames, dim, left, right, seed):
    features = np.random.default_rng(seed).standard_normal((num_frames, dim)).astype(np.float32)
    expected = np.stack(
        [
            np.concatenate([features[min(max(t + k, 0), num_frames - 1)] for k in range(-left, right + 1)])
            for t in range(num_frames)
        ]
    )
    window = ContextWindow(left, right)
    np.testing.assert_array_equal(window(features), expected)
    as_tensor = window(torch.from_numpy(features))
    assert isinstance(as_tensor, torch.Tensor)
    np.testing.assert_array_equal(as_tensor.numpy(), expected)


def test_dtype_gradient_and_input_are_kept():
    features = torch.randn(5, 40, dtype=torch.float64, requires_grad=True)
    inputs = ContextWindow()(features)
    assert inputs.dtype == torch.float64
    inputs.sum().backward()
    # every frame but the edges occurs as often as windows reach it; in total 5 windows of 26 frames
    assert float(features.grad[:, 0].sum()) == 5 * 26
    assert ContextWindow()(np.zeros((3, 40), dtype=np.float16)).dtype == np.float16


def test_no_frames_and_bad_shapes():
    assert ContextWindow()(np.zeros((0, 40), dtype=np.float32)).shape == (0, 1040)
    assert ContextWindow()(torch.zeros(0, 40)).shape == (0, 1040)
    with pytest.raises(UserError, match="T, D"):
        ContextWindow()(np.zeros((2, 3, 40)))
    with pytest.raises(ValueError, match="expected 0 to 1000"):
        ContextWindow(left=-1)
