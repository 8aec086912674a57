"""Tails of low rank in a store: what the coefficients describe, and a store written, continued and refused with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from store_folders import add_missing, contents

from asr_distill.base import UserError
from asr_distill.distillation import SoftTargetStore
from asr_distill.distillation import soft_target_basis as basis_module
from asr_distill.distillation import soft_target_writer as writer_module
from asr_distill.distillation.soft_target_basis import TailBasis, principal_components
from asr_distill.distillation.soft_target_modes import TEMPERATURES, Encoding

CLASSES, RANK, LENGTHS = 30, 4, {"a": 40, "b": 30, "c": 50, "d": 20, "e": 60}
OPTIONS: dict[str, Any] = {
    "mode": "topk",
    "num_classes": CLASSES,
    "senones_hash": None,
    "teacher": {"hash": "7e"},
    "top_k": 3,
    "shard_frames": 60,
}


def posteriors(frames: int, classes: int = CLASSES, rank: int = RANK, noise: float = 0.0, seed: int = 0) -> torch.Tensor:
    """Of exactly so many directions but for the noise; the directions do not depend on the seed."""
    fixed, own = torch.Generator().manual_seed(99), torch.Generator().manual_seed(seed)
    logits = torch.randn(classes, generator=fixed) + torch.randn(frames, rank, generator=own) @ torch.randn(
        rank, classes, generator=fixed
    )
    return torch.log_softmax(logits + noise * torch.randn(frames, classes, generator=own), 1)


def create(path: Path, rank: int = RANK, **changes: Any):
    return SoftTargetStore.create(path, **{**OPTIONS, "tail_rank": rank, **changes})


def cut(cut_id: str) -> torch.Tensor:
    return posteriors(LENGTHS[cut_id], seed=sum(cut_id.encode()), noise=0.1)


def write(path: Path, rank: int = RANK, **changes: Any) -> Path:
    add_missing(create(path, rank, **changes), LENGTHS, cut)
    return path


def divergence(true: torch.Tensor, stored: torch.Tensor) -> torch.Tensor:
    return (true.exp() * (true - stored)).sum(1)


def test_posteriors_of_as_many_directions_come_back_at_every_temperature() -> None:
    log_probs = posteriors(400)
    encoding = Encoding.choose("topk", CLASSES, top_k=3, tail_rank=RANK)
    basis = TailBasis.fit(log_probs, 3, TEMPERATURES, RANK)
    records = encoding.encode(log_probs, 0, basis=basis)
    assert records.shape[1] == 3 * 3 + 4 * 2 + RANK
    for index, temperature in enumerate(TEMPERATURES):
        stored = encoding.decode(records, temperature, basis.shapes[index], basis.directions)
        true = torch.log_softmax(log_probs / temperature, 1)
        # what is left is the bytes' rounding, a 250th of the largest coefficient
        assert float(divergence(true, stored.dense()).max()) < 2e-3
        assert float(divergence(true, stored.dense()).mean()) < 1e-4
    mean = Encoding.choose("topk", CLASSES, top_k=3, tail_rank=0)
    shape = torch.log_softmax(log_probs.mean(0), 0)
    assert float(divergence(log_probs, mean.decode(mean.encode(log_probs, 0), 1.0, shape).dense()).mean()) > 0.05


def test_the_components_are_those_of_a_singular_value_decomposition() -> None:
    log_probs = posteriors(200, noise=0.5, seed=3)
    mean, directions = principal_components(log_probs, 6)
    centred = log_probs - log_probs.mean(1, keepdim=True)
    assert torch.allclose(mean, centred.mean(0), atol=1e-5)
    expected = torch.linalg.svd((centred - centred.mean(0)).double(), full_matrices=False)[2][:6].float()
    found = torch.nn.functional.normalize(directions, dim=1)
    # of two spaces the angles between them; single directions may be turned within it where two are of a size
    assert torch.allclose(torch.linalg.svdvals(found[:4] @ expected[:4].T), torch.ones(4), atol=1e-3)
    assert torch.allclose(found @ found.T, torch.eye(6), atol=1e-4)
    few = principal_components(log_probs[:2], 6)[1]
    assert (few.abs().amax(1) > 1e-4).tolist() == [True] + [False] * 5  # two frames differ in one direction


def test_the_normal_equations_of_a_chunk_fit_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    log_probs = posteriors(200, rank=20)
    whole = TailBasis.fit(log_probs, 3, TEMPERATURES, 20)
    solve, sizes = TailBasis._solve, []
    monkeypatch.setattr(basis_module, "_CHUNK_VALUES", 12_000)  # 400 frames of 30 classes, but 30 systems of 20 equations
    monkeypatch.setattr(TailBasis, "_solve", lambda self, rows, ids: sizes.append(len(rows)) or solve(self, rows, ids))
    parts = TailBasis.fit(log_probs, 3, TEMPERATURES, 20)
    assert max(sizes) == 30
    torch.testing.assert_close(parts.directions, whole.directions, rtol=1e-4, atol=1e-6)


def test_the_mean_mass_of_each_class_is_kept() -> None:
    log_probs = posteriors(600, noise=1.5)
    encoding = Encoding.choose("topk", CLASSES, top_k=3, tail_rank=2)
    basis = TailBasis.fit(log_probs, 3, TEMPERATURES, 2)
    records = encoding.encode(log_probs, 0, basis=basis)
    plain = torch.log_softmax(basis.mean, 0)
    for index, temperature in enumerate(TEMPERATURES):
        true = torch.softmax(log_probs / temperature, 1).mean(0)
        found, without = (
            (encoding.decode(records, temperature, shape, basis.directions).dense().exp().mean(0) - true).abs().sum()
            for shape in (basis.shapes[index], plain / temperature)
        )
        assert found < 0.6 * without


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 8),
    classes=st.integers(3, 40),
    sharpness=st.floats(0.1, 12.0),
    rank=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)
def test_top_k_and_mass_are_kept_at_every_declared_temperature(frames, classes, sharpness, rank, seed) -> None:
    log_probs = torch.log_softmax(sharpness * torch.randn(frames, classes, generator=torch.Generator().manual_seed(seed)), 1)
    k = max(1, classes // 3)
    encoding = Encoding.choose("topk", classes, top_k=k, tail_rank=rank)
    assert encoding.tail_rank == min(rank, classes - k)
    basis = TailBasis.fit(log_probs, k, TEMPERATURES, encoding.tail_rank)
    records = encoding.encode(log_probs, seed, basis=basis)
    mean = Encoding.choose("topk", classes, top_k=k, tail_rank=0)
    plain = mean.encode(log_probs, seed)
    for index, temperature in enumerate(TEMPERATURES):
        stored = encoding.decode(records, temperature, basis.shapes[index], basis.directions)
        common = mean.decode(plain, temperature, basis.shapes[index])
        assert torch.equal(stored.ids, common.ids)
        dense = stored.dense()
        assert torch.equal(dense.gather(1, stored.ids), common.log_probs)  # the named classes are as at rank 0
        outside = dense.scatter(1, stored.ids, -math.inf).logsumexp(1)
        assert torch.allclose(outside, common.tail_log_mass, atol=1e-4)
        assert torch.allclose(dense.exp().sum(1), torch.ones(frames), atol=1e-5)
        assert torch.isfinite(dense).all()


def test_impossible_classes_and_frames_without_a_tail_do_no_harm() -> None:
    log_probs = posteriors(50)
    log_probs[:5, 7:] = -math.inf
    log_probs[5:10, 3:] = -math.inf  # nothing outside the top three
    log_probs = torch.log_softmax(log_probs, 1)
    encoding = Encoding.choose("topk", CLASSES, top_k=3, tail_rank=RANK)
    basis = TailBasis.fit(log_probs, 3, TEMPERATURES, RANK)
    stored = encoding.decode(encoding.encode(log_probs, 0, basis=basis), 5.0, basis.shapes[2], basis.directions)
    dense = stored.dense().exp()
    assert torch.allclose(dense.sum(1), torch.ones(50), atol=1e-5)
    assert torch.allclose(dense[5:10], torch.softmax(log_probs[5:10] / 5, 1), atol=1e-3)


@pytest.mark.parametrize("rank", [0, RANK])
@pytest.mark.parametrize("stopped_before", ["b", "c", "d", "e"])
def test_a_writer_that_was_stopped_continues_to_the_same_bytes(
    tmp_path: Path, monkeypatch, rank: int, stopped_before: str
) -> None:
    monkeypatch.setattr(writer_module, "SAMPLE_FRAMES", 65)  # the directions are found once b is there, in the midst of it
    expected = contents(write(tmp_path / "whole", rank))
    assert ("tail_basis.npy" in expected) == (rank > 0)
    path = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt), create(path, rank) as writer:
        for cut_id in LENGTHS:
            if cut_id == stopped_before:
                raise KeyboardInterrupt
            writer.add(cut_id, cut(cut_id))
    kept = {"b": [], "c": ["a", "b"], "d": ["a", "b"], "e": ["a", "b", "c", "d"]}[stopped_before]
    assert [cut_id for cut_id in LENGTHS if create(path, rank).done(cut_id)] == kept
    assert contents(write(path, rank)) == expected


def test_the_store_gives_back_what_the_layout_does(tmp_path: Path) -> None:
    store = SoftTargetStore.open(write(tmp_path / "store"))
    store.verify()
    assert store.meta["schema"] == 2
    assert (store.encoding.tail_rank, store.bytes_per_frame) == (RANK, 3 * 3 + 4 * 2 + RANK)
    mean = SoftTargetStore.open(write(tmp_path / "mean", 0))
    for temperature in TEMPERATURES:
        lost = [
            torch.cat([divergence(torch.log_softmax(cut(i) / temperature, 1), s.log_probs(i, temperature)) for i in LENGTHS])
            for s in (store, mean)
        ]
        assert float(lost[0].mean()) < 0.1 * float(lost[1].mean())
    rows = torch.tensor([150, 0, 77])
    sparse = store.sparse_targets(rows, 2.0)
    assert torch.equal(sparse.dense(), store.targets(rows, 2.0))
    assert sparse.tail_basis is not None
    assert sparse.to("cpu").dense().equal(sparse.dense())
    assert SoftTargetStore.open(write(tmp_path / "again")).hash == store.hash
    assert mean.hash != store.hash


def test_stores_of_rank_0_are_those_from_before_there_were_ranks(tmp_path: Path) -> None:
    path = write(tmp_path / "store", 0)
    meta = json.loads((path / "meta.json").read_text())
    assert meta["schema"] == 1
    assert not {"tail_rank", "tail_basis_sha256"} & set(meta)
    assert SoftTargetStore.open(path).encoding.tail_rank == 0


def test_other_ranks_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "store")
    write(tmp_path / "mean", 0)
    for name, rank, message in (
        ("store", 5, "was begun with tail_rank 4, now it is 5"),
        ("store", 0, "was begun with tail_rank 4, now it is 0"),
        ("mean", 4, "was begun with tail_rank 0, now it is 4"),
    ):
        with pytest.raises(UserError, match=message):
            create(tmp_path / name, rank)


@pytest.mark.parametrize("file", ["tail_basis.npy", "tail_shape.npy"])
def test_changed_files_of_the_tail_are_found(tmp_path: Path, monkeypatch, file: str) -> None:
    path = write(tmp_path / "store")
    original = (path / file).read_bytes()
    changed = original[:-1] + bytes([original[-1] ^ 1])
    store = SoftTargetStore.open(path)
    (path / file).write_bytes(changed)
    with pytest.raises(UserError, match=f"{file} changed since the store was written"):
        store.verify()
    for resident_bytes in (0, 1 << 30):
        with pytest.raises(UserError, match=f"{file} changed since the store was written"):
            SoftTargetStore.open(path, resident_bytes=resident_bytes)
    np.save(path / file, np.zeros((2, CLASSES), np.float32))
    with pytest.raises(UserError, match=rf"{file} holds float32 \(2, 30\), expected float32"):
        SoftTargetStore.open(path)
    monkeypatch.setattr(writer_module, "SAMPLE_FRAMES", 65)
    begun = create(tmp_path / "begun")
    for cut_id in ("a", "b"):
        begun.add(cut_id, cut(cut_id))
    values = (tmp_path / "begun" / file).read_bytes()
    (tmp_path / "begun" / file).write_bytes(values[:-1] + bytes([values[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{file} changed since it was written"):
        create(tmp_path / "begun")
    (tmp_path / "begun" / file).unlink()
    with pytest.raises(UserError, match=f"{file} cannot be read"):
        create(tmp_path / "begun")


def test_a_rank_without_a_basis_is_a_mistake() -> None:
    encoding = Encoding.choose("topk", CLASSES, top_k=3, tail_rank=RANK)
    with pytest.raises(ValueError, match="a tail of rank 4 needs a basis of as many directions"):
        encoding.encode(posteriors(2), 0)
