"""A store written, continued, read by rows, and refused where it is not what was written."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from store_folders import add_missing, contents

from asr_distill.base import UserError
from asr_distill.distillation import SoftTargetStore
from asr_distill.distillation.soft_target_shards import Shard

CLASSES, LENGTHS = 11, {"a": 4, "b": 3, "b_sp0.9": 5, "c": 1, "d": 6}
SETTINGS: dict[str, Any] = {
    "num_classes": CLASSES,
    "senones_hash": "5e",
    "teacher": {"hash": "7e", "members": ["m0", "m1"], "mode": "arithmetic"},
    "top_k": 3,
    "tail_rank": 0,
    "num_samples": 5,
    "shard_frames": 6,
}
MODES = {"dense": [1.0], "topk": [1.0, 2.0], "sampled": [2.0]}


def posteriors(cut_id: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(cut_id.encode()))
    return torch.log_softmax(2 * torch.randn(LENGTHS[cut_id], CLASSES, generator=generator), 1)


def create(path: Path, mode: str, **changes: Any):
    return SoftTargetStore.create(path, **{"mode": mode, "temperatures": MODES[mode], **SETTINGS, **changes})


def write(path: Path, mode: str = "topk", **changes: Any) -> Path:
    add_missing(create(path, mode, **changes), LENGTHS, posteriors)
    return path


def test_dense_comes_back_normalised_at_any_temperature(tmp_path: Path) -> None:
    store = SoftTargetStore.open(write(tmp_path / "store", "dense"))
    assert (store.mode, store.num_classes, store.senones_hash, store.teacher["hash"]) == ("dense", CLASSES, "5e", "7e")
    assert (len(store), store.num_frames, store.bytes_per_frame) == (5, 19, 22)
    assert store.offsets.tolist() == [0, 4, 7, 12, 13, 19]
    assert "b_sp0.9" in store
    assert "e" not in store
    for temperature in (0.5, 1, 3.7, 1000):
        for cut_id in LENGTHS:
            found = store.log_probs(cut_id, temperature)
            assert found.dtype == torch.float32
            assert torch.allclose(found.exp().sum(1), torch.ones(LENGTHS[cut_id]), atol=1e-6)
            assert torch.allclose(found, torch.log_softmax(posteriors(cut_id) / temperature, 1), atol=2e-2 / temperature)


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_any_order_from_memory_and_from_files(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "store", mode)
    assert len(list(path.glob("shard-*.npy"))) == 3  # a and b; b_sp0.9 and c; d
    temperature = MODES[mode][-1]
    store, mapped = SoftTargetStore.open(path), SoftTargetStore.open(path, resident_bytes=0)
    rows = store.rows(["d", "a"], [6, 4])
    assert rows.tolist() == [13, 14, 15, 16, 17, 18, 0, 1, 2, 3]
    whole = torch.cat([store.log_probs(cut_id, temperature) for cut_id in LENGTHS])
    picked = torch.tensor([18, 0, 6, 7, 7, 12, 3, 13])
    for opened in (store, mapped):
        assert torch.equal(opened.targets(picked, temperature), whole[picked])
        assert torch.equal(opened.targets(rows, temperature), whole[rows])
        assert opened.targets(picked[:0], temperature).shape == (0, CLASSES)
        if mode != "dense":
            sparse = opened.sparse_targets(picked, temperature)
            assert torch.equal(sparse.dense(CLASSES), whole[picked])
            assert sparse.temperature == temperature
    with pytest.raises(IndexError):
        mapped.targets(torch.tensor([19]), temperature)
    with pytest.raises(IndexError):
        store.targets(torch.tensor([19]), temperature)


def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    topk = SoftTargetStore.open(write(tmp_path / "topk"))
    with pytest.raises(UserError, match=r"topk was not written for temperature 5: it holds the tail's mass for 1, 2;"):
        topk.log_probs("a", 5)
    with pytest.raises(UserError, match="topk: temperature must be finite and above 0, found 0"):
        topk.log_probs("a", 0)
    dense = SoftTargetStore.open(write(tmp_path / "dense", "dense"))
    with pytest.raises(UserError, match=r"dense: temperature 1e\+20 is outside 1e-06 to 1e\+06"):
        dense.log_probs("a", 1e20)
    sampled = SoftTargetStore.open(write(tmp_path / "sampled", "sampled"))
    with pytest.raises(UserError, match="not written for temperature 1: it holds draws at 2"):
        sampled.sparse_targets(torch.tensor([0]), 1.0)
    dense = SoftTargetStore.open(write(tmp_path / "dense", "dense"))
    with pytest.raises(UserError, match="holds dense targets"):
        dense.sparse_targets(torch.tensor([0]), 1.0)
    with pytest.raises(UserError, match=r"has no cut 'e' \(5 cuts: a, b, b_sp0.9"):
        dense.rows(["a", "e"], [4, 3])
    with pytest.raises(UserError, match=r"cut 'b' has 3 frames here, 4 are asked for \(1 such cuts\)"):
        dense.rows(["a", "b"], [4, 4])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stopped_before", list(LENGTHS))
def test_a_writer_that_was_stopped_continues_to_the_same_bytes(tmp_path: Path, mode: str, stopped_before: str) -> None:
    expected = contents(write(tmp_path / "whole", mode))
    path = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt), create(path, mode) as writer:
        for cut_id in LENGTHS:
            if cut_id == stopped_before:
                raise KeyboardInterrupt
            writer.add(cut_id, posteriors(cut_id))
    with pytest.raises(UserError, match="is not finished"):
        SoftTargetStore.open(path)
    kept = {"a": [], "b": [], "b_sp0.9": ["a", "b"], "c": ["a", "b"], "d": ["a", "b", "b_sp0.9", "c"]}[stopped_before]
    writer = create(path, mode)
    assert [cut_id for cut_id in LENGTHS if writer.done(cut_id)] == kept
    assert contents(write(path, mode)) == expected


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "store"
    late = create(path, "topk")
    with create(path, "topk") as first:
        with pytest.raises(UserError, match=f"another process is writing soft targets to {path}; wait.*another --output"):
            create(path, "topk").__enter__()
        temporary = path / ".asr-distill-shard-00000-x.npy"
        temporary.touch()
        create(path, "topk")  # may look
        assert temporary.exists()
        temporary.unlink()
        for cut_id in LENGTHS:
            first.add(cut_id, posteriors(cut_id))
    with pytest.raises(UserError, match="another process has written a shard meanwhile; run this again"):
        late.__enter__()
    with create(path, "topk") as again:
        assert again.complete
    assert not list(path.glob(".*"))
    (path / ".asr-distill-meta.json.lock").mkdir()  # as where nothing can be written
    with create(path, "topk") as again:  # a finished store needs no lock
        assert again.complete


def test_draws_do_not_depend_on_the_cuts_before(tmp_path: Path) -> None:
    store = SoftTargetStore.open(write(tmp_path / "store", "sampled"))
    with create(tmp_path / "reversed", "sampled") as writer:
        for cut_id in reversed(LENGTHS):
            writer.add(cut_id, posteriors(cut_id))
    other = SoftTargetStore.open(tmp_path / "reversed")
    for cut_id in LENGTHS:
        assert torch.equal(store.log_probs(cut_id, 2.0), other.log_probs(cut_id, 2.0))


@pytest.mark.parametrize("shard", [0, 2])
def test_a_writer_killed_between_a_shard_and_its_description_continues(tmp_path: Path, monkeypatch, shard: int) -> None:
    expected = contents(write(tmp_path / "whole"))
    save = Shard.save

    def killed(self: Shard, folder: Path) -> None:
        if self.index == shard:
            (folder / ".asr-distill-shard-00001-abc.npy").write_bytes(b"half")
            raise KeyboardInterrupt
        save(self, folder)

    monkeypatch.setattr(Shard, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "killed")
    monkeypatch.undo()
    assert contents(write(tmp_path / "killed")) == expected


@pytest.mark.parametrize("shard", [0, 1])
def test_an_altered_shard_is_named_before_an_unfinished_store_is_continued(tmp_path: Path, shard: int) -> None:
    writer = create(tmp_path / "store", "dense")
    for cut_id in ("a", "b", "b_sp0.9", "c"):
        writer.add(cut_id, posteriors(cut_id))
    path = tmp_path / "store" / f"shard-0000{shard}.npy"
    records = bytearray(path.read_bytes())
    records[-1] ^= 1
    path.write_bytes(records)
    which = r"shard-00000\.\* to shard-00001\.\*" if shard == 0 else r"shard-00001\.\*"
    with pytest.raises(UserError, match=rf"shard-0000{shard}\.npy changed .* remove {which} of .*store and run this again"):
        create(tmp_path / "store", "dense")
    for number in range(shard, 2):
        for file in (tmp_path / "store").glob(f"shard-0000{number}.*"):
            file.unlink()
    assert contents(write(tmp_path / "store", "dense")) == contents(write(tmp_path / "whole", "dense"))


def test_rows_in_half_precision_may_be_off_by_their_rounding(tmp_path: Path) -> None:
    rows = torch.log_softmax(torch.zeros(3, 14_000), 1)
    writer = create(tmp_path / "store", "dense", num_classes=14_000)
    writer.add("a", rows.bfloat16())
    with pytest.raises(UserError, match=r"cut 'b', frame 0: not log-probabilities"):
        writer.add("b", rows.bfloat16().float())
    writer.finish()
    found = SoftTargetStore.open(tmp_path / "store").log_probs("a", 1.0)
    assert torch.allclose(found, rows, atol=1e-2)


def test_a_finished_store_stays_as_it_is(tmp_path: Path) -> None:
    before = contents(write(tmp_path / "store"))
    assert contents(write(tmp_path / "store")) == before
    with create(tmp_path / "store", "topk") as writer:
        assert writer.complete
        with pytest.raises(UserError, match="is finished and has no cut 'e'"):
            writer.add("e", posteriors("a"))
    assert "tail-sums" not in " ".join(before)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "store")
    for change, message in (
        ({"teacher": {"hash": "8e"}}, "was begun with teacher"),
        ({"top_k": 4}, "was begun with top_k 3, now it is 4"),
        ({"source": {"frames": "f1"}}, "was begun with source None"),
    ):
        with pytest.raises(UserError, match=message):
            create(tmp_path / "store", "topk", **change)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"other has files but no meta\.json \(notes\.txt, \.\.\.\)"):
        create(tmp_path / "other", "topk")
    with pytest.raises(UserError, match="is a file"):
        create(tmp_path / "other" / "notes.txt", "topk")


def test_a_store_without_the_identity_of_its_frames_is_read_and_continued(tmp_path: Path) -> None:
    path = write(tmp_path / "store")
    meta = json.loads((path / "meta.json").read_text())
    assert meta.pop("frames") is None
    (path / "meta.json").write_text(json.dumps(meta))
    old = SoftTargetStore.open(path)
    assert old.frames is None
    identified = SoftTargetStore.open(write(tmp_path / "new", frames={"hash": "f0"}))
    assert identified.frames == {"hash": "f0"}
    assert identified.hash == old.hash  # the frames' content is in the source already
    write(path, frames={"hash": "f0"})  # finished: nothing to do
    unfinished = create(tmp_path / "begun", "topk")
    unfinished.add("a", posteriors("a"))
    begun = json.loads((tmp_path / "begun" / "meta.json").read_text())
    del begun["frames"]
    (tmp_path / "begun" / "meta.json").write_text(json.dumps(begun))
    assert SoftTargetStore.open(write(tmp_path / "begun", frames={"hash": "f0"})).frames == {"hash": "f0"}


def test_what_is_no_distribution_is_refused_by_cut_and_frame(tmp_path: Path) -> None:
    writer = create(tmp_path / "store", "topk")
    good = posteriors("a")
    for change, message in (
        (good + 0.1, "cut 'a', frame 0: not log-probabilities"),
        (torch.where(torch.arange(4)[:, None] == 2, torch.nan, good), "cut 'a', frame 2: not"),
        (torch.where(torch.arange(4)[:, None] == 3, -torch.inf, good), "cut 'a', frame 3: not"),
        (good[:, 1:], r"cut 'a': soft targets \(4, 10\), expected \(frames, 11\)"),
        (good[:0], r"soft targets \(0, 11\)"),
    ):
        with pytest.raises(UserError, match=message):
            writer.add("a", change)
    writer.add("a", good)
    with pytest.raises(UserError, match="has the cut 'a' already"):
        writer.add("a", good)
    with pytest.raises(UserError, match="no cut was added"), create(tmp_path / "empty", "topk"):
        pass


def test_truncated_shards_are_refused_at_opening(tmp_path: Path) -> None:
    path = write(tmp_path / "store")
    shard = path / "shard-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard-00001\.npy has \d+ bytes instead of \d+: the shard is damaged"):
        SoftTargetStore.open(path)
    with pytest.raises(UserError, match=r"shard-00001\.npy has"):
        create(path, "topk")
    shard.unlink()
    with pytest.raises(UserError, match=r"shard-00001\.npy is missing"):
        SoftTargetStore.open(path)
    (path / "shard-00001.json").unlink()
    with pytest.raises(UserError, match=r"shard-00001\.json is missing"):
        SoftTargetStore.open(path)


def test_altered_files_are_found_by_verify_and_where_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "store")
    SoftTargetStore.open(path).verify()
    for name in ("shard-00001.npy", "tail_shape.npy"):
        original = (path / name).read_bytes()
        (path / name).write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        for resident_bytes in (0, 1 << 30):
            with pytest.raises(UserError, match=f"{name} changed since the store was written"):
                SoftTargetStore.open(path, resident_bytes=resident_bytes).verify()
        (path / name).write_bytes(original)
    for place in range(8, 20):
        header = bytearray((path / "shard-00000.npy").read_bytes())
        header[place] ^= 0x29
        (tmp_path / "shard-00000.npy").write_bytes(header)
        shutil.copy(path / "shard-00000.npy", tmp_path / "kept")
        shutil.copy(tmp_path / "shard-00000.npy", path)
        with pytest.raises(UserError, match=r"shard-00000\.npy"):
            SoftTargetStore.open(path)
        shutil.copy(tmp_path / "kept", path / "shard-00000.npy")
    np.save(path / "tail_shape.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(UserError, match=r"tail_shape\.npy holds float32 \(2, 3\), expected float32 \(2, 11\)"):
        SoftTargetStore.open(path)


@pytest.mark.parametrize("mode", MODES)
def test_altered_records_in_mapped_files_are_refused_before_they_are_read(tmp_path: Path, mode: str) -> None:
    path, temperature = write(tmp_path / "store", mode), MODES[mode][-1]
    untouched = SoftTargetStore.open(path, resident_bytes=0)
    rows = torch.arange(untouched.num_frames)
    whole = untouched.targets(rows, temperature)
    shard = path / "shard-00001.npy"  # rows 7 to 12
    values = shard.read_bytes()
    shard.write_bytes(values[:-1] + bytes([values[-1] ^ 1]))
    altered = SoftTargetStore.open(path, resident_bytes=0)  # what another object found is not taken over
    assert torch.equal(altered.targets(rows[:7], temperature), whole[:7])
    for wanted in (rows, rows[12:14], rows[7:8]):
        with pytest.raises(UserError, match=r"shard-00001\.npy changed since the store was written; remove its folder"):
            altered.targets(wanted, temperature)
    assert torch.equal(altered.targets(rows[13:], temperature), whole[13:])
    shard.write_bytes(values)
    assert torch.equal(altered.targets(rows, temperature), whole)  # a shard that was refused is looked at again


def test_threads_compare_each_mapped_shard_once_and_wait_for_the_outcome(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path / "store", "dense")
    verify, compared = Shard.verify, []

    def slowly(self: Shard, folder: Path) -> bool:
        compared.append(self.index)
        time.sleep(0.05)
        return verify(self, folder)

    monkeypatch.setattr(Shard, "verify", slowly)
    expected = SoftTargetStore.open(path).targets(torch.arange(19), 1.0)
    assert compared == [0, 1, 2]
    store = SoftTargetStore.open(path, resident_bytes=0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: store.targets(torch.arange(19).roll(seed), 1.0), range(8)))
    assert sorted(compared) == [0, 0, 1, 1, 2, 2]
    assert all(torch.equal(values, expected.roll(seed, 0)) for seed, values in enumerate(found))
    values = bytearray((path / "shard-00002.npy").read_bytes())
    values[-1] ^= 1
    (path / "shard-00002.npy").write_bytes(values)
    altered = SoftTargetStore.open(path, resident_bytes=0)
    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(altered.targets, torch.arange(13, 19), 1.0) for _ in range(8)]
    assert all("shard-00002.npy changed" in str(outcome.exception()) for outcome in outcomes)


@pytest.mark.parametrize(
    "change",
    [{"complete": None}, {"mode": None}, {"shards": []}, {"shards": None}, {"num_classes": "11"}, {"temperatures": None}],
)
def test_a_damaged_description_is_refused_by_name(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "store")
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, **change}))
    (name,) = change
    with pytest.raises(UserError, match=rf"meta\.json: {name} is .*; the file is damaged; remove its folder and write"):
        SoftTargetStore.open(path)
    del meta[name]
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=rf"meta\.json: {name} is None"):
        SoftTargetStore.open(path)


def test_rows_and_lengths_that_are_not_there(tmp_path: Path) -> None:
    store = SoftTargetStore.open(write(tmp_path / "store"))
    for rows in ([-1], [store.num_frames]):
        with pytest.raises(IndexError, match=rf"expected 0 to {store.num_frames - 1}"):
            store.targets(torch.tensor(rows), 1.0)
    with pytest.raises(UserError, match="2 cuts with 1 lengths"):
        store.rows(store.cut_ids[:2], [1])
    with pytest.raises(UserError, match="shards of 0 frames"):
        create(tmp_path / "none", "topk", shard_frames=0)


def test_foreign_shards_are_refused_at_opening(tmp_path: Path) -> None:
    path, other = write(tmp_path / "store"), write(tmp_path / "other", teacher={"hash": "8e"})
    for file in other.glob("shard-00000*"):
        shutil.copy(file, path)
    with pytest.raises(UserError, match=r"shard-00000\.json belongs to another store"):
        SoftTargetStore.open(path)
    # of the same settings, but not of this store
    path = write(tmp_path / "again")
    described = json.loads((path / "shard-00000.json").read_text())
    described["cut_ids"] = ["x", "y"]
    (path / "shard-00000.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match=r"shard-00000\.json is not the one that was written with the store"):
        SoftTargetStore.open(path)
    (path / "shard-00000.json").write_text("{}")
    with pytest.raises(UserError, match=r"shard-00000\.json does not describe a shard"):
        SoftTargetStore.open(path)


def test_folders_that_are_no_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a soft-target store"):
        SoftTargetStore.open(tmp_path)
    (tmp_path / "meta.json").write_text('{"kind": "asr_distill frame store"}')
    with pytest.raises(UserError, match="does not describe a soft-target store"):
        SoftTargetStore.open(tmp_path)
    (tmp_path / "meta.json").write_text('{"kind": "asr_distill soft-target store", "schema": 9}')
    with pytest.raises(UserError, match="version 9, expected 1 or 2"):
        SoftTargetStore.open(tmp_path)


def test_the_hash_names_the_targets(tmp_path: Path) -> None:
    hashes = {
        SoftTargetStore.open(write(tmp_path / name, **changes)).hash
        for name, changes in (
            ("one", {}),
            ("same", {}),
            ("teacher", {"teacher": {"hash": "8e"}}),
            ("mode", {"mode": "dense", "temperatures": [1.0]}),
        )
    }
    assert len(hashes) == 3
