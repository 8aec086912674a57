"""Manifests from strangers: whatever they name, nothing runs, and the message names the cut."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet, Features, MonoCut, MultiCut, Recording, SupervisionSegment
from lhotse.array import Array, TemporalArray
from lhotse.audio import AudioSource
from lhotse.augmentation import AudioTransform
from lhotse.features.io import NumpyFilesWriter
from lhotse.serialization import deserialize_item

from asr_distill.base import UserError
from asr_distill.cli.main import READ_CUTS, main
from asr_distill.data import load_cuts
from asr_distill.data.cut_features import load_features, senone_labels
from asr_distill.data.cut_manifests import read_cut_set
from asr_distill.features.audio import read_samples
from asr_distill.features.sources import STORAGES, check_sources, commands_allowed
from asr_distill.lang.transcripts import read_sentences
from asr_distill.senones import read_label_arrays

SECONDS = 0.5


def recording(kind: str, source: Any) -> Recording:
    return Recording("r", [AudioSource(kind, [0], source)], 16000, int(16000 * SECONDS), SECONDS)


def cut_of(record: Recording | None, **parts: Any) -> MonoCut:
    said = SupervisionSegment("bad-cut", "r", 0.0, SECONDS, text="ONE", speaker="s")
    return MonoCut("bad-cut", 0.0, SECONDS, 0, supervisions=[said], recording=record, **parts)


def features(storage: str, path: str, key: str) -> Features:
    return Features("asr-distill-fbank40", 48, 40, 0.01, 16000, 0.0, SECONDS, storage, path, key, "r", 0)


def array(storage: str, path: str, key: str, *, temporal: bool = True) -> Any:
    plain = Array(storage, path, key, [48])
    return TemporalArray(plain, temporal_dim=0, frame_shift=0.01, start=0.0) if temporal else plain


class Mark:
    """Unpickling it makes the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def hostile(folder: Path) -> dict[str, MonoCut | MultiCut]:
    """Cuts that would make the file ``folder / "P"``, each in a way of its own."""
    mark = folder / "P"
    command = f"touch {mark}"
    good = folder / "good.wav"
    soundfile.write(good, np.zeros(int(16000 * SECONDS)) + 0.1, 16000)
    fine = recording("file", str(good))
    pickled = pickle.dumps(Mark(mark), protocol=0).decode("latin-1")
    reverb = {"name": "ReverbWithImpulseResponse", "kwargs": {"rir": recording("command", command).to_dict()}}
    by_name = {"name": "ReverbWithImpulseResponse", "kwargs": {"rir": recording("file", f"a;{command};.sph").to_dict()}}
    later = Recording("r", fine.sources, 16000, int(16000 * SECONDS), SECONDS, transforms=[AudioTransform.from_dict(by_name)])
    return {
        "command": cut_of(recording("command", command)),
        "url": cut_of(recording("url", f"pipe:{command}")),
        "memory": cut_of(recording("memory", pickled)),
        "pipe": cut_of(recording("file", f"pipe:{command}")),
        "bar behind": cut_of(recording("file", f"{command} |")),
        "bar before": cut_of(recording("file", f"| {command}")),
        "address": cut_of(recording("file", "https://localhost:1/a.wav")),
        "kaldiio": cut_of(fine, features=features("kaldiio", str(folder), f"{command} |")),
        "kaldiio's key": cut_of(fine, features=features("kaldiio", f"{command} |", "x")),
        "features by a pipe": cut_of(fine, features=features("numpy_files", f"pipe:{command};", "a.npy")),
        "features by a key": cut_of(fine, features=features("lilcom_files", "", f"pipe:{command}")),
        "features at an address": cut_of(fine, features=features("lilcom_url", "https://localhost:1", "a")),
        "pickled features": cut_of(fine, features=features("memory_raw", "", pickled)),
        "labels": cut_of(fine, custom={"senones": array("kaldiio", str(folder), f"{command} |"), "senones_hash": "h"}),
        "labels by a pipe": cut_of(fine, custom={"senones": array("lilcom_files", f"pipe:{command};", "a")}),
        "pickled labels": cut_of(fine, custom={"senones": array("memory_raw", "", pickled)}),
        "another array": cut_of(fine, custom={"noise": array("lilcom_url", f"pipe:{command}", "a", temporal=False)}),
        "another recording": cut_of(fine, custom={"clean": recording("command", command)}),
        "an impulse response": cut_of(
            Recording("r", fine.sources, 16000, int(16000 * SECONDS), SECONDS, transforms=[reverb])  # type: ignore[list-item]
        ),
        "an impulse response by its name": cut_of(
            Recording("r", fine.sources, 16000, int(16000 * SECONDS), SECONDS, transforms=[by_name])  # type: ignore[list-item]
        ),
        "a transform that lhotse has read": cut_of(later),
        "an address in pieces": cut_of(fine, features=features("lilcom_files", "ht\ntp:/\n/localhost:1", "a")),
        "several channels": MultiCut("bad-cut", 0.0, SECONDS, [0], recording=recording("command", command)),
        "mixed": cut_of(recording("command", command)).mix(cut_of(fine), offset_other_by=0.1).with_id("bad-cut"),
    }


KINDS = (
    "command", "url", "memory", "pipe", "bar behind", "bar before", "address", "kaldiio", "kaldiio's key", "features by a pipe",
    "features by a key", "features at an address", "pickled features", "labels", "labels by a pipe", "pickled labels",
    "another array", "another recording", "an impulse response", "an impulse response by its name",
    "a transform that lhotse has read", "an address in pieces", "several channels", "mixed",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_a_manifest_names_is_run(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = hostile(tmp_path)[kind]
    manifest = tmp_path / "cuts_x.jsonl.gz"
    CutSet.from_cuts([cut]).to_file(manifest)
    for read in (load_cuts, read_cut_set, lambda path: read_sentences(cuts=[path])):
        with pytest.raises(UserError, match="bad-cut"):
            read(manifest)
    in_python = [lambda: read_samples(cut, 16000)]
    if cut.has_features:
        in_python = [lambda: load_features(cut)]
    if kind != "mixed" and cut.has_custom("senones"):
        in_python = [lambda: senone_labels(cut, "senones", 48, 5, None), lambda: list(read_label_arrays([cut]))]
    for act in in_python:
        with pytest.raises(UserError, match="bad-cut"):
            act()
    for command in (
        ["features", "--cuts", str(manifest), "--output", str(tmp_path / "out")],
        ["frames", "--cuts", str(manifest), "--output", str(tmp_path / "out")],
        ["lang", "build", "--cuts", str(manifest), "--output", str(tmp_path / "out"), "--cmudict"],
        ["lang", "ngram", "--cuts", str(manifest), "--output", str(tmp_path / "lm.arpa")],
    ):
        assert main(command) == 1
        error = capsys.readouterr().err
        assert "bad-cut" in error, command
        assert "Traceback" not in error
    assert not (tmp_path / "P").exists()
    assert not (tmp_path / "out").exists()


def test_a_command_without_channels_is_a_command(tmp_path: Path) -> None:
    row = cut_of(recording("command", f"touch {tmp_path / 'P'}")).to_dict()
    row["recording"]["sources"][0]["channels"] = None  # lhotse reads it, and would not write it
    (tmp_path / "cuts_x.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="cut bad-cut: its recording is a 'command'"):
        load_cuts(tmp_path / "cuts_x.jsonl")
    with pytest.raises(UserError, match="cut bad-cut: its recording is a 'command'"):
        read_samples(deserialize_item(row), 16000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": ["x"]}, r"its id is \['x'\], expected str"),
        ({"start": 1e300}, "its start is 1e\\+300, expected float"),
        ({"channel": True}, "its channel is True"),
        ({"recording": {"sampling_rate": 10**12}}, "its sampling_rate is 1000000000000, expected int"),
        ({"recording": {"transforms": [{"name": "Speed", "kwargs": {"factor": 1e-9}}]}}, "1e-09 times as fast"),
        ({"recording": {"transforms": [{"name": "Speed", "kwargs": {"factor": 0.1}}] * 9}}, "0.01 times as fast"),
        ({"recording": {"transforms": [{"name": "Volume", "kwargs": {"factor": "x"}}]}}, "its factor is 'x'"),
        ({"recording": {"transforms": [{"name": "Clipping", "kwargs": {"hard": True}}]}}, "the transform 'Clipping'"),
        ({"recording": {"transforms": [{"name": "Evil", "kwargs": {}}]}}, "Unknown transform type: Evil"),
        ({"supervisions": [{"text": 7}]}, "its text is 7"),
        ({"custom": {"a": {"type": "command", "channels": [0], "source": "touch P"}}}, "'command'"),
        ({"type": "Image"}, "Unexpected cut type"),
    ],
)  # fmt: skip
def test_values_that_lhotse_would_take(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    row = cut_of(recording("file", "a.wav")).to_dict()
    for key, value in change.items():
        if isinstance(value, dict) and key in row:
            row[key].update(value)
        elif key == "supervisions":
            row[key][0].update(value[0])
        else:
            row[key] = value
    (tmp_path / "cuts_x.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=says):
        load_cuts(tmp_path / "cuts_x.jsonl")


def test_rates_that_do_not_follow_one_another_are_refused(tmp_path: Path) -> None:
    """Half a second at 16 kHz, said to be at 100 Hz, would be eighty minutes at a million hertz."""
    soundfile.write(tmp_path / "good.wav", np.zeros(8000), 16000)
    rise = AudioTransform.from_dict(
        {"name": "Resample", "kwargs": {"source_sampling_rate": 100, "target_sampling_rate": 10**6}}
    )
    source = AudioSource("file", [0], str(tmp_path / "good.wav"))
    with pytest.raises(UserError, match="the file is at 16000 Hz, the manifest says 100 Hz"):
        read_samples(cut_of(Recording("r", [source], 10**6, 500_000, SECONDS, transforms=[rise])), 16000)


@pytest.mark.parametrize("shape", [(1 << 40, 40), (1 << 63,), (48, 1 << 62), (1 << 41, 0)])
def test_an_array_larger_than_its_file_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with open(tmp_path / "a.npy", "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        stream.write(bytes(64))
    packed = gzip.compress((tmp_path / "a.npy").read_bytes())
    (tmp_path / "a.npy.gz").write_bytes(packed)
    for name in ("a.npy", "a.npy.gz"):
        with pytest.raises(UserError, match=r"bad-cut.*cannot be read"):
            load_features(cut_of(None, features=features("numpy_files", str(tmp_path), name)))
        with pytest.raises(UserError, match=r"bad-cut.*cannot be read"):
            senone_labels(cut_of(None, custom={"senones": array("numpy_files", str(tmp_path), name)}), "senones", 48, 5, None)


def test_arrays_that_are_not_read_here(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stored as numpy_hdf5, read are numpy_files"):
        load_features(cut_of(None, features=features("numpy_hdf5", str(tmp_path / "a.h5"), "a")))
    for wrong in ("x", 7, array("numpy_files", str(tmp_path), "a.npy", temporal=False), recording("file", "a.wav")):
        with pytest.raises(UserError, match=r"bad-cut.*expected a lhotse TemporalArray"):
            senone_labels(cut_of(None, custom={"senones": wrong}), "senones", 48, 5, None)


def test_every_kind_is_tried(tmp_path: Path) -> None:
    assert set(hostile(tmp_path)) == set(KINDS)
    assert len(READ_CUTS) == 6


def test_commands_run_where_the_user_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", np.full(int(16000 * SECONDS), 0.25), 16000)
    cut = cut_of(recording("command", f"cat {tmp_path / 'good.wav'}"))
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts_x.jsonl")
    command = ["features", "--quiet", "--cuts", str(tmp_path / "cuts_x.jsonl"), "--output", str(tmp_path / "fbank")]
    assert main(command) == 1
    assert main([*command, "--allow-commands"]) == 0
    with commands_allowed():
        assert read_samples(cut, 16000) == pytest.approx(np.full(int(16000 * SECONDS), 0.25), abs=1e-4)
        with pytest.raises(UserError, match="'url'"):
            check_sources(cut_of(recording("url", "https://localhost:1/a.wav")))
        with pytest.raises(UserError, match="gives no audio"):
            read_samples(cut_of(recording("command", "false")), 16000)
    with pytest.raises(UserError, match="--allow-commands"):
        read_samples(cut, 16000)


@pytest.mark.parametrize("name", ["a;touch P;.wav", "-rf.wav", "$(touch P).wav", "`touch P`.wav", "a b'\".wav", "é*?[x].wav"])
def test_a_name_is_no_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of audio files gets the name and nothing else does; SPHERE too, which lhotse reads by a shell."""
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / name, np.full(int(16000 * SECONDS), 0.25), 16000, format="WAV")
    sphere = name.replace(".wav", ".sph")
    header = "NIST_1A\n   1024\nsample_count -i 8000\nsample_rate -i 16000\nchannel_count -i 1\nsample_n_bytes -i 2\n"
    header += "sample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n"
    (tmp_path / sphere).write_bytes(header.encode().ljust(1024) + np.full(8000, 8192, "<i2").tobytes())
    for audio in (name, sphere):
        assert read_samples(cut_of(recording("file", audio)), 16000) == pytest.approx(np.full(8000, 0.25), abs=1e-3)
    assert not (tmp_path / "P").exists()


def test_a_manifest_that_is_named_like_a_command_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "good.wav", np.zeros(8000), 16000)
    name = "pipe:touch P; cat x.jsonl"
    CutSet.from_cuts([cut_of(recording("file", str(tmp_path / "good.wav")))]).to_file(tmp_path / "x.jsonl")
    (tmp_path / name).write_bytes((tmp_path / "x.jsonl").read_bytes())
    assert [cut.id for cut in load_cuts(name)] == ["bad-cut"]
    assert not (tmp_path / "P").exists()


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_an_empty_manifest_is_called_empty(name: str, tmp_path: Path) -> None:
    CutSet.from_cuts([]).to_file(tmp_path / name)
    with pytest.raises(UserError, match="holds no cuts"):
        load_cuts(tmp_path / name)


def test_what_is_stored_in_plain_files_passes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "with: colon.wav", np.zeros(8000), 16000)
    with NumpyFilesWriter(tmp_path / "arrays") as writer:
        stored = writer.store_array("k", np.zeros(48, np.int32), frame_shift=0.01, temporal_dim=0, start=0.0)
    check_sources(cut_of(recording("file", str(tmp_path / "with: colon.wav")), custom={"senones": stored, "type": "x"}))
    for storage in STORAGES:
        check_sources(cut_of(None, features=features(storage, "fbank", "abc/abc.npy")))


@given(
    st.sampled_from(("type", "source", "storage_type", "storage_path", "storage_key")),
    st.one_of(st.text(max_size=12), st.none(), st.integers(), st.lists(st.text(max_size=3), max_size=2)),
)
def test_any_other_value_is_refused_or_a_plain_name(key: str, value: Any) -> None:
    """Without a shell, an address or a pickle: what passes is a file's name and a storage of the list."""
    row = cut_of(recording("file", "a.wav"), features=features("numpy_files", "fbank", "k.npy")).to_dict()
    row["recording"]["sources"][0].update({key: value} if key in ("type", "source") else {})
    row["features"].update({key: value} if key.startswith("storage") else {})

    try:
        check_sources(deserialize_item(copy.deepcopy(row)))
    except UserError:
        return
    assert row["recording"]["sources"][0]["type"] == "file"
    assert row["features"]["storage_type"] in STORAGES
    for name in (row["recording"]["sources"][0]["source"], row["features"]["storage_path"], row["features"]["storage_key"]):
        assert isinstance(name, str)
        assert not name.startswith("pipe:")
        assert "|" not in (name.strip()[:1], name.strip()[-1:])
        assert "://" not in name


@pytest.mark.slow
def test_no_process_no_socket_under_an_audit_hook(tmp_path: Path) -> None:
    """The same attacks in a process of their own, where every start of a process and every connection is an error."""
    rows = [cut.to_dict() for kind, cut in hostile(tmp_path).items() if kind != "mixed"]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    script = """
import json, sys
from asr_distill.base import UserError
from asr_distill.features.audio import read_samples
from asr_distill.data.cut_features import load_features, senone_labels
from lhotse.serialization import deserialize_item
def hook(event, args):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect"):
        print("audit:", event, args, flush=True)
sys.addaudithook(hook)
for row in json.load(open(sys.argv[1])):
    cut = deserialize_item(row)
    for read in (read_samples, load_features, senone_labels):
        try:
            read(cut, *{read_samples: (16000,), load_features: (), senone_labels: ("senones", 48, 5, None)}[read])
        except UserError:
            pass
        except AttributeError as error:  # a cut without features
            assert "features" in str(error) or "NoneType" in str(error), error
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "rows.json")], capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stdout + done.stderr
    assert not (tmp_path / "P").exists()
