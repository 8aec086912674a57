import json
import shutil

import numpy as np
import pytest
from lhotse import CutSet

from asr_distill.base import DIGESTS_FILE, UserError
from asr_distill.cli.main import main
from asr_distill.data import FrameStore, write_frame_store
from asr_distill.features import Fbank40Config, Normalisation

HASH = "a" * 64


@pytest.fixture
def cuts(stores, tmp_path):
    sizes = (("u1", 30, "ann"), ("u2", 5, "bob"), ("u3", 1, "ann"), ("u4", 60, "bob"))
    return [stores.make_cut(tmp_path / "fbank", name, frames, speaker=speaker) for name, frames, speaker in sizes]


def test_each_frame_once_with_its_label(cuts, tmp_path):
    store = FrameStore.create(tmp_path / "store", cuts, senones_hash=HASH, num_senones=10)
    assert (store.num_frames, len(store), store.dim) == (96, 4, 40)
    assert store.offsets.tolist() == [0, 30, 35, 36, 96]
    assert store.cut_ids == ["u1", "u2", "u3", "u4"]
    assert store.speakers == ["ann", "bob", "ann", "bob"]
    assert store.senones_hash == HASH
    assert store.feature_config == Fbank40Config()
    for cut in cuts:
        features, labels = store.utterance(cut.id)
        np.testing.assert_array_equal(features, cut.load_features())
        np.testing.assert_array_equal(labels, cut.load_senones())
    assert (store.features.dtype, store.labels.dtype) == (np.float32, np.int32)
    assert isinstance(store.features, np.memmap)
    assert not store.features.flags.writeable
    assert store.labelled_frames().tolist() == np.flatnonzero(np.asarray(store.labels) >= 0).tolist()
    assert store.label_counts().sum() == store.meta["num_labelled"]
    assert len(store.label_counts()) == 10
    store.verify()
    with pytest.raises(UserError, match="no cut 'u9'"):
        store.utterance("u9")


def test_no_normalisation_statistics_are_kept_without_need(cuts, tmp_path):
    store = write_frame_store(tmp_path / "store", cuts, "none", senones_hash=HASH)
    assert store.normalisation.kind == "none"


@pytest.mark.parametrize("kind", ["corpus", "speaker", "utterance"])
def test_normalisation_is_applied_and_travels(kind, cuts, tmp_path):
    store = write_frame_store(tmp_path / "store", cuts, kind, senones_hash=HASH)
    raw = {cut.id: cut.load_features() for cut in cuts}
    groups = {
        "corpus": [["u1", "u2", "u3", "u4"]],
        "speaker": [["u1", "u3"], ["u2", "u4"]],
        "utterance": [["u1"], ["u2"], ["u4"]],
    }[kind]
    for group in groups:
        pooled = np.concatenate([raw[name] for name in group])
        for name in group:
            expected = (raw[name] - pooled.mean(0)) / pooled.std(0)
            np.testing.assert_allclose(store.utterance(name)[0], expected, atol=1e-4)
    again = FrameStore.open(tmp_path / "store").normalisation
    assert again.kind == kind
    np.testing.assert_allclose(again.apply(raw["u1"], "ann"), store.utterance("u1")[0], atol=1e-6)


def test_statistics_of_one_store_serve_another(cuts, tmp_path):
    train = write_frame_store(tmp_path / "train", cuts[:2], "corpus", senones_hash=HASH)
    dev = write_frame_store(tmp_path / "dev", cuts[2:], train.normalisation, senones_hash=HASH)
    assert dev.normalisation.hash == train.normalisation.hash
    np.testing.assert_array_equal(dev.utterance("u4")[0], train.normalisation.apply(cuts[3].load_features()))


def test_speeds_have_statistics_of_their_own(cuts, stores, tmp_path):
    slow = stores.make_cut(tmp_path / "fbank", "u1_sp0.9", 33, speaker="ann")
    slow.custom = {**slow.custom, "speed": 0.9}
    store = write_frame_store(tmp_path / "store", [*cuts, slow], "speaker", senones_hash=HASH)
    assert set(store.normalisation.moments) == {"ann", "bob", "ann_sp0.9"}
    assert store.speakers[-1] == "ann"
    np.testing.assert_allclose(store.utterance("u1_sp0.9")[0].mean(0), 0, atol=1e-4)


def test_half_precision(cuts, tmp_path):
    store = write_frame_store(tmp_path / "store", cuts, "speaker", senones_hash=HASH, dtype="float16")
    full = write_frame_store(tmp_path / "full", cuts, "speaker", senones_hash=HASH)
    assert store.features.dtype == np.float16
    np.testing.assert_allclose(store.features, full.features, atol=5e-3)


def test_unlabelled_cuts(stores, tmp_path):
    cuts = [stores.make_cut(tmp_path / "fbank", name, 10, labels=False, speaker=None) for name in ("a", "b")]
    store = write_frame_store(tmp_path / "store", cuts, "utterance")
    assert store.senones_hash is None
    assert (np.asarray(store.labels) == -1).all()
    assert store.speakers == [None, None]
    mixed = [*cuts, stores.make_cut(tmp_path / "fbank", "c", 7)]
    store = write_frame_store(tmp_path / "mixed", mixed, "utterance", senones_hash=HASH)
    assert (store.utterance("a")[1] == -1).all()
    assert (store.utterance("c")[1] >= 0).any()


def test_ignore_index_of_torch_means_no_label(cuts, stores, tmp_path):
    stores.label(cuts[2], tmp_path / "fbank", np.array([-100], dtype=np.int64))
    store = write_frame_store(tmp_path / "store", cuts, senones_hash=HASH)
    assert store.utterance("u3")[1].tolist() == [-1]


def test_a_part_of_a_cut_takes_its_part_of_features_and_labels(cuts, tmp_path):
    part = cuts[3].truncate(offset=0.2, duration=0.15)
    store = write_frame_store(tmp_path / "store", [part], senones_hash=HASH)
    np.testing.assert_array_equal(store.features, cuts[3].load_features()[20:35])
    np.testing.assert_array_equal(store.labels, cuts[3].load_senones()[20:35])


def refused(cuts, tmp_path, says, normalisation="none", **options):
    with pytest.raises(UserError, match=says):
        write_frame_store(tmp_path / "store", cuts, normalisation, **{"senones_hash": HASH, **options})
    assert not (tmp_path / "store").exists()
    assert not list(tmp_path.glob(".store*"))


def test_bad_cuts_are_refused_by_name(cuts, stores, tmp_path):
    refused([], tmp_path, "no cuts")
    refused([*cuts, cuts[0]], tmp_path, r"cut u1 .*twice")
    refused(cuts, tmp_path, "inventory", senones_hash=None)
    foreign = stores.make_cut(tmp_path / "fbank", "foreign", 30)
    foreign.custom = {**foreign.custom, "senones_hash": "b" * 64}
    refused([*cuts, foreign], tmp_path, f"labels of cut foreign .*different senone inventories: {'b' * 64} and {HASH}")
    refused(cuts, tmp_path, r"cut u\d .*label \d in an inventory of 3", num_senones=3)
    refused(cuts, tmp_path, "one configuration", feature_config=Fbank40Config(num_mel_bins=80))
    refused(cuts, tmp_path, "bins", normalisation=Normalisation.load(_other_statistics(tmp_path)))
    cuts[1].supervisions[0].speaker = None
    refused(cuts, tmp_path, r"cut u2 .*needs a speaker", normalisation="speaker")
    stores.label(cuts[2], tmp_path / "fbank", np.zeros(2, dtype=np.int32))
    refused(cuts, tmp_path, r"cut u3 .*\(2,\) for 1 frames.*snip_edges")
    cuts[0].features = None
    refused(cuts, tmp_path, r"cut u1 .*no features", feature_config=Fbank40Config())


def _other_statistics(tmp_path):
    from asr_distill.features import NormalisationAccumulator

    accumulator = NormalisationAccumulator("corpus")
    accumulator.update(np.random.default_rng(0).standard_normal((9, 23)))
    accumulator.finish().save(tmp_path / "other")
    return tmp_path / "other"


def test_damaged_features_are_refused_by_name(cuts, tmp_path):
    path = tmp_path / "fbank" / "feats" / cuts[1].features.storage_key
    values = np.load(path)
    np.save(path, np.where(np.arange(40) == 3, np.nan, values).astype(np.float32))
    refused(cuts, tmp_path, r"cut u2 .*NaN")
    np.save(path, values[:3])
    refused(cuts, tmp_path, r"cut u2 .*\(3, 40\)")
    path.unlink()
    refused(cuts, tmp_path, r"cut u2 .*cannot be read", normalisation="corpus")
    (tmp_path / "fbank" / "fbank.json").unlink()
    refused(cuts, tmp_path, r"no fbank\.json")


@pytest.fixture
def written(cuts, tmp_path):
    write_frame_store(tmp_path / "store", cuts, "speaker", senones_hash=HASH)
    return tmp_path / "store"


@pytest.mark.parametrize("name", ["features.npy", "labels.npy", "offsets.npy", "cuts.jsonl", "normalisation.safetensors"])
def test_truncated_stores_are_refused(name, written):
    (written / name).write_bytes((written / name).read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{name} has \d+ bytes instead"):
        FrameStore.open(written)
    (written / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        FrameStore.open(written)


def test_foreign_and_changed_stores_are_refused(written, tmp_path):
    with pytest.raises(UserError, match="not a frame store"):
        FrameStore.open(tmp_path / "nothing")
    meta = json.loads((written / "meta.json").read_text())
    for change, says in (({"kind": "soft targets"}, "does not describe"), ({"schema": 2}, "version 2"), ({"dim": 41}, "holds")):
        shutil.copytree(written, tmp_path / "copy", dirs_exist_ok=True)
        (tmp_path / "copy" / "meta.json").write_text(json.dumps({**meta, **change}))
        (tmp_path / "copy" / DIGESTS_FILE).unlink()  # a foreign store, not a damaged one
        with pytest.raises(UserError, match=says):
            FrameStore.open(tmp_path / "copy")
    with open(written / "features.npy", "r+b") as stream:
        stream.seek(-8, 2)
        stream.write(b"\0\0\0\0")
    store = FrameStore.open(written)  # the size is right
    with pytest.raises(UserError, match=r"features\.npy is damaged"):
        store.verify()


def test_an_older_store_is_replaced_whole(cuts, written):
    before = FrameStore.open(written).hash
    assert write_frame_store(written, cuts, "speaker", senones_hash=HASH).hash == before
    assert write_frame_store(written, cuts[:1], "speaker", senones_hash=HASH).num_cuts == 1


def test_command_line(stores, tmp_path, capsys):
    cuts = [stores.make_cut(tmp_path / "fbank", name, 20, labels=False, speaker=name[0]) for name in ("a1", "a2", "b1")]
    manifest = tmp_path / "cuts_train.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(manifest)
    command = ["frames", "--cuts", str(manifest), "--json", "--output"]
    assert main([*command, str(tmp_path / "train"), "--normalisation", "corpus"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 60
    assert main([*command, str(tmp_path / "dev"), "--normalisation-from", str(tmp_path / "train")]) == 0
    assert FrameStore.open(tmp_path / "dev").normalisation.hash == FrameStore.open(tmp_path / "train").normalisation.hash
    assert main([*command, str(tmp_path / "own")]) == 0
    assert FrameStore.open(tmp_path / "own").normalisation.kind == "speaker"
    assert main(["frames", "--verify", str(tmp_path / "dev")]) == 0
    assert main(["frames", "--verify", str(tmp_path)]) == 1
    assert main([*command, str(tmp_path / "x"), "--normalisation", "none", "--normalisation-from", str(tmp_path / "dev")]) == 1
    assert "exclude" in capsys.readouterr().err
    assert main(["frames", "--cuts", str(manifest)]) == 1


@pytest.mark.parametrize("name", ["features.npy", "labels.npy"])
@pytest.mark.parametrize("with_list", [True, False])
def test_one_changed_bit_is_refused_as_soon_as_the_frames_are_read(written, name, with_list):
    """Also in a store of an earlier version, which has its own checksums and no list."""
    if not with_list:
        (written / DIGESTS_FILE).unlink()
    data = bytearray((written / name).read_bytes())
    data[-1] ^= 1
    (written / name).write_bytes(data)
    store = FrameStore.open(written)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        _ = store.features if name == "features.npy" else store.labels
