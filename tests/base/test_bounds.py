"""Files from strangers: sizes, depth and repetition are bounded before memory or time is spent on them."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_distill.base import LONGEST_LINE, UserError, load_config, read_json, read_jsonl, read_yaml
from asr_distill.data import load_cuts
from asr_distill.features import ContextWindow, Fbank40Config
from asr_distill.models import build_network, count_parameters, load_network, save_network
from asr_distill.models.registry import num_weights
from asr_distill.senones import FrameAlignment


@dataclass(frozen=True)
class Plain:
    rate: float = 0.1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x\n", "anchors and aliases"),
        ("a: &x [1]\n", "anchors and aliases"),
        ("rate: 1\nrate: 2\n", "comes twice"),
        ("[" * 20000, "not valid YAML"),
        ("rate: 2001-13-45\n", "not valid YAML"),
        ("rate: " + "9" * 6000, "not valid YAML|finite number|expected float"),
        ("!!python/object/apply:os.system ['touch P']", "not valid YAML"),
        ("rate: 1\n" + "#" * (1 << 20), "at most 256 KiB"),
        ("? [1]\n: 2\n", "a key is a list"),
        ("rate: " + "[" * 60 + "]" * 60, "values within values"),
    ],
)
def test_yaml(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=says):
        load_config(Plain, tmp_path / "x.yaml")


@pytest.mark.parametrize("text", ["[" * 200000, '{"a": NaN}', "[-Infinity]", '{"a": 1, "a": 2}', "9" * 6000, '"\\ud800', "{"])
def test_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    (tmp_path / "x.jsonl").write_text(text + "\n")
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="line 1"):
        list(read_jsonl(tmp_path / "x.jsonl"))


def test_a_line_that_unpacks_to_any_length(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "cuts_x.jsonl.gz", "wb", compresslevel=1) as stream:
        stream.write(b'{"id": "')
        for _ in range(LONGEST_LINE >> 20):
            stream.write(b"a" * (1 << 20))
        stream.write(b'"}\n')
    for read in (load_cuts, lambda path: list(read_jsonl(path))):
        with pytest.raises(UserError, match="longer than 64 MiB"):
            read(tmp_path / "cuts_x.jsonl.gz")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("senone_dnn", {"num_senones": 7, "layers": 3, "width": 5, "input_dim": 11}),
        ("senone_dnn", {"num_senones": 7, "layers": 0, "width": 5, "input_dim": 11}),
        ("mlp", {"num_senones": 7, "layers": 2, "width": 5, "input_dim": 11}),
        ("image_cnn", {"num_senones": 7, "channels": [2, 3], "hidden": 5, "input_dim": 64}),
        ("image_cnn", {"num_senones": 7, "channels": [2, 3], "hidden": 5, "input_dim": 72, "height": 6, "batch_norm": True}),
    ],
)
def test_a_configuration_larger_than_its_weights_is_refused_before_it_is_built(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    import asr_distill.images  # noqa: F401 - registers the networks for images

    config = {"name": name, **options}
    network = build_network(config)
    found = sum(tensor.numel() for tensor in network.state_dict().values())
    assert found >= count_parameters(network)
    assert num_weights(config) == found
    save_network(tmp_path / "bundle", network, config)
    load_network(tmp_path / "bundle")
    for key in ("num_senones", "layers", "width", "hidden", "input_dim"):
        if key not in config or (key == "input_dim" and name == "image_cnn") or (key == "width" and not config["layers"]):
            continue
        shutil.copytree(tmp_path / "bundle", tmp_path / key)
        (tmp_path / key / "asr-distill.sha256").unlink(missing_ok=True)
        (tmp_path / key / "config.json").write_text(json.dumps({"network": {**config, key: 2_000_000_000}}))
        with pytest.raises(UserError, match=r"weights, the bundle holds|has shape"):
            load_network(tmp_path / key)


def test_sizes_of_windows_filterbanks_and_alignments() -> None:
    with pytest.raises(ValueError, match="expected 0 to 1000 each"):
        ContextWindow(10**9, 5)
    for change in ({"num_mel_bins": 10**9}, {"sampling_rate": 10**12}, {"frame_length": 1e6}):
        with pytest.raises(ValueError, match="expected at most"):
            Fbank40Config(**change)
    good = {"phones": [1], "phone_frames": [3], "state_runs": [0, 3]}
    assert len(FrameAlignment.from_dict(good)) == 3
    for change in ({"phone_frames": [4 * 10**9]}, {"state_runs": [0, 2**62]}, {"phone_frames": [-1]}):
        with pytest.raises(ValueError, match="frames, expected 0 to"):
            FrameAlignment.from_dict({**good, **change})


@pytest.mark.slow
@settings(max_examples=2000)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.binary(max_size=8),
    st.integers(0, 200),
)
def test_any_bytes_are_a_value_or_an_error(tmp_path_factory: Any, value: Any, noise: bytes, place: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    data = json.dumps(value).encode()
    data = data[:place] + noise + data[place + len(noise) :]
    for name in ("x.json", "x.jsonl", "x.yaml"):
        (folder / name).write_bytes(data)
    for read in (read_json, lambda path: list(read_jsonl(path)), read_yaml, lambda path: load_config(Plain, path)):
        for name in ("x.json", "x.jsonl", "x.yaml"):
            with contextlib.suppress(UserError):
                read(folder / name)


@pytest.mark.slow
def test_a_bundle_that_asks_for_more_than_it_holds_takes_no_memory(tmp_path: Path) -> None:
    config = {"name": "senone_dnn", "num_senones": 7, "layers": 3, "width": 5, "input_dim": 11}
    save_network(tmp_path / "bundle", build_network(config, torch.Generator().manual_seed(0)), config)
    (tmp_path / "bundle" / "asr-distill.sha256").unlink(missing_ok=True)
    (tmp_path / "bundle" / "config.json").write_text(json.dumps({"network": {**config, "width": 60_000}}))
    script = (
        "import resource, sys\nfrom asr_distill.base import UserError\nfrom asr_distill.models import load_network\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load_network(sys.argv[1])\nexcept UserError as error:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "bundle"], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100_000  # KiB; the network would take 29 GB
