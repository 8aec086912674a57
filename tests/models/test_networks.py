"""Networks: arithmetic by hand, sizes, initial weights, dropout, max-norm, registry, files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asr_distill.base import DIGESTS_FILE, UserError, read_json, write_json
from asr_distill.models import (
    SenoneDnn,
    apply_max_norm,
    build_network,
    complete_network_config,
    count_parameters,
    load_network,
    register_network,
    save_network,
)
from asr_distill.models.dropout import ByteDropout


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_papers_network_has_84_4_million_parameters() -> None:
    network = SenoneDnn(14000, device="meta")
    by_hand = (1040 + 1) * 2560 + 7 * (2560 + 1) * 2560 + (2560 + 1) * 14000
    assert count_parameters(network) == by_hand == 84_412_080


def test_forward_equals_the_layers_worked_by_hand() -> None:
    network = SenoneDnn(3, layers=2, width=4, input_dim=5, generator=generator()).eval()
    inputs = torch.randn(7, 5, generator=generator(1))
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    activations = inputs.numpy()
    for layer in range(2):
        activations = np.maximum(0, activations @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"])
    expected = activations @ weights["output.weight"].T + weights["output.bias"]
    np.testing.assert_allclose(network(inputs).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_initial_weights_follow_he_and_the_generator() -> None:
    network = SenoneDnn(500, layers=2, width=400, input_dim=300, generator=generator(3))
    again = SenoneDnn(500, layers=2, width=400, input_dim=300, generator=generator(3))
    other = SenoneDnn(500, layers=2, width=400, input_dim=300, generator=generator(4))
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert not torch.equal(network.output.weight, other.output.weight)
    assert network.hidden[0].weight.var().item() == pytest.approx(2 / 300, rel=0.03)
    assert network.hidden[1].weight.var().item() == pytest.approx(2 / 400, rel=0.03)
    assert network.output.weight.var().item() == pytest.approx(1 / 400, rel=0.03)
    assert not any(layer.bias.any() for layer in [*network.hidden, network.output])


@pytest.mark.parametrize("probability", [0.05, 0.2, 0.5])
def test_dropout_zeroes_its_share_keeps_the_mean_and_passes_gradients_through_the_kept(probability: float) -> None:
    dropout = ByteDropout(probability)
    inputs = torch.ones(200_001, requires_grad=True)
    torch.manual_seed(0)
    outputs = dropout(inputs)
    share = round(256 * probability) / 256
    assert (outputs == 0).float().mean().item() == pytest.approx(share, abs=0.004)
    assert outputs.detach().unique().tolist() == [0.0, pytest.approx(1 / (1 - share))]
    outputs.sum().backward()
    assert torch.equal(inputs.grad, outputs.detach())
    torch.manual_seed(0)
    assert torch.equal(dropout(inputs), outputs)
    assert dropout.eval()(inputs) is inputs


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.floats(0.01, 10),
    st.integers(0, 1000),
)
@settings(max_examples=50, deadline=None)
def test_max_norm_shortens_only_what_is_too_long_and_keeps_directions(units: int, inputs: int, limit: float, seed: int) -> None:
    layer = nn.Linear(inputs, units)
    layer.weight.data.normal_(generator=generator(seed)).mul_(2)
    layer.bias.data.fill_(1000.0)
    before = layer.weight.detach().clone()
    apply_max_norm(layer, limit)
    for old, new in zip(before, layer.weight.detach(), strict=True):
        if old.norm() <= limit:
            assert torch.equal(old, new)
        else:
            assert new.norm().item() == pytest.approx(limit, rel=1e-5)
            torch.testing.assert_close(new / new.norm(), old / old.norm())
    assert (layer.bias == 1000).all()


def test_max_norm_survives_a_unit_of_zeros() -> None:
    layer = nn.Linear(3, 2)
    layer.weight.data.zero_()
    apply_max_norm(layer, 1.0)
    assert not layer.weight.any()
    with pytest.raises(ValueError, match="above 0"):
        apply_max_norm(layer, 0.0)


@dataclass(frozen=True)
class ConvolutionConfig:
    num_senones: int
    input_dim: int
    channels: int = 4


class Convolution(nn.Module):
    """Any module with the same inputs and outputs: a convolution over the frames of the window."""

    def __init__(self, config: ConvolutionConfig) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(2, config.channels, 3)
        self.output = nn.Linear(config.channels * (config.input_dim // 2 - 2), config.num_senones)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.output(torch.relu(self.convolution(inputs.view(len(inputs), 2, -1))).flatten(1))


register_network("test_convolution", ConvolutionConfig)(lambda config, generator: Convolution(config))


def test_a_network_of_ones_own_is_built_saved_and_loaded_by_its_name(tmp_path: Path) -> None:
    config = complete_network_config({"name": "test_convolution"}, num_senones=3, input_dim=12)
    assert config == {"name": "test_convolution", "num_senones": 3, "input_dim": 12, "channels": 4}
    network = build_network(config)
    save_network(tmp_path, network, config)
    loaded, _ = load_network(tmp_path)
    inputs = torch.randn(5, 12)
    assert torch.equal(network(inputs), loaded(inputs))


def test_unknown_networks_and_options_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'senone_cnn'.*senone_dnn"):
        build_network({"name": "senone_cnn", "num_senones": 3})
    with pytest.raises(UserError, match=r"unknown key 'widht'.*did you mean 'width'"):
        build_network({"name": "senone_dnn", "num_senones": 3, "widht": 5})
    with pytest.raises(UserError, match=r"dropout is 1\.5"):
        build_network({"num_senones": 3, "dropout": 1.5})
    with pytest.raises(UserError, match="num_senones is 4, but the data has 3"):
        complete_network_config({"num_senones": 4}, num_senones=3, input_dim=10)
    with pytest.raises(ValueError, match="registered already"):
        register_network("senone_dnn", ConvolutionConfig)


def test_a_checkpoint_is_safetensors_and_json_and_comes_back_in_bits(tmp_path: Path) -> None:
    config = complete_network_config({"layers": 1, "width": 6}, num_senones=4, input_dim=5)
    network = build_network(config, generator())
    save_network(tmp_path, network, config, {"more": [1, 2]})
    assert sorted(path.name for path in tmp_path.iterdir()) == [DIGESTS_FILE, "config.json", "model.safetensors"]
    loaded, written = load_network(tmp_path)
    assert written["more"] == [1, 2]
    assert not loaded.training
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), loaded.parameters(), strict=True))


def test_damaged_and_foreign_checkpoints_are_refused_by_name(tmp_path: Path) -> None:
    config = complete_network_config({"layers": 1, "width": 6}, num_senones=4, input_dim=5)
    save_network(tmp_path, build_network(config), config)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-3])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        load_network(tmp_path)
    (tmp_path / DIGESTS_FILE).unlink()  # of an earlier version, or another's
    with pytest.raises(UserError, match=r"model\.safetensors is not a whole"):
        load_network(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(whole)
    stored = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {"network": {**stored["network"], "width": 7}})
    with pytest.raises(UserError, match=r"'hidden\.0\.weight' has shape \(6, 5\).*expects \(7, 5\)"):
        load_network(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        load_network(tmp_path)
