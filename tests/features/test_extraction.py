import json

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.features import Fbank40, Fbank40Config, extract_features
from asr_distill.features.resampling import change_speed, resample

RATE = 16000


def make_cut(path, name, *, seconds=0.5, rate=RATE, channels=1, speaker="ann", samples=None, subtype="PCM_16"):
    if samples is None:
        samples = 0.1 * np.random.default_rng(len(name)).standard_normal((round(seconds * rate), channels))
    soundfile.write(str(path / f"{name}.wav"), samples, rate, subtype=subtype)
    recording = Recording.from_file(path / f"{name}.wav", recording_id=name)
    cut = recording.to_cut()
    cut.id = name
    cut.supervisions = [
        SupervisionSegment(
            id=name, recording_id=name, start=0.0, duration=recording.duration, channel=0, text="YES", speaker=speaker
        )
    ]
    return cut


@pytest.fixture
def cuts(tmp_path):
    (tmp_path / "wav").mkdir()
    return [make_cut(tmp_path / "wav", name, seconds=seconds) for name, seconds in (("u1", 0.5), ("u2", 0.7301), ("u3", 1.2))]


def test_features_are_stored_without_loss_and_read_by_lhotse(cuts, tmp_path):
    report = extract_features(cuts, tmp_path / "feats", Fbank40Config(), jobs=2)
    assert [cut.id for cut in report.cuts] == ["u1", "u2", "u3"]
    assert report.computed == 3
    report.cuts.to_file(tmp_path / "cuts.jsonl.gz")
    for cut in CutSet.from_file(tmp_path / "cuts.jsonl.gz"):
        expected = Fbank40().extract(cut.load_audio(), RATE)
        found = cut.load_features()
        assert found.dtype == np.float32
        assert len(found) == cut.num_frames
        np.testing.assert_array_equal(found, expected)
        assert cut.supervisions[0].text == "YES"


def test_features_are_found_from_another_working_directory(cuts, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    report = extract_features(cuts[:1], "feats", Fbank40Config())
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(report.cuts[0].load_features()) == report.num_frames


def test_what_is_done_is_not_done_again(cuts, tmp_path):
    folder = tmp_path / "feats"
    extract_features(cuts, folder, Fbank40Config())
    again = extract_features(cuts, folder, Fbank40Config())
    assert (again.computed, again.reused) == (0, 3)
    files = sorted(folder.glob("*/*.npy"))
    files[0].write_bytes(files[0].read_bytes()[:-40])  # as a kill in the middle of a write leaves it
    soundfile.write(str(tmp_path / "wav" / "u3.wav"), np.zeros(19200), RATE)
    touched = extract_features(cuts, folder, Fbank40Config())
    assert touched.computed in (1, 2)  # the truncated file may be that of u3
    assert touched.computed + touched.reused == 3
    for cut in touched.cuts:
        np.testing.assert_array_equal(cut.load_features(), Fbank40().extract(cut.load_audio(), RATE))
    other = extract_features(cuts, folder, Fbank40Config(num_mel_bins=23))
    assert other.computed == 3


def test_speed_perturbation_follows_lhotse(cuts, tmp_path):
    report = extract_features(cuts[:1], tmp_path / "feats", Fbank40Config(), speeds=(0.9, 1.0, 1.1))
    slow, plain, fast = report.cuts
    assert [slow.id, plain.id, fast.id] == ["u1_sp0.9", "u1", "u1_sp1.1"]
    assert slow.supervisions[0].speaker == "ann"
    assert slow.custom["speed"] == 0.9
    assert slow.duration > plain.duration > fast.duration
    for cut in (slow, plain, fast):
        np.testing.assert_array_equal(cut.load_features(), Fbank40().extract(cut.load_audio(), RATE))


def test_a_faster_tone_is_higher():
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    fast = change_speed(tone, RATE, 1.1)
    assert len(fast) == pytest.approx(RATE / 1.1, abs=1)
    assert np.abs(np.fft.rfft(fast * np.hanning(len(fast)))).argmax() * RATE / len(fast) == pytest.approx(1100, abs=2)


def test_other_rates_are_resampled_with_one_line(cuts, tmp_path, caplog):
    low = [make_cut(tmp_path / "wav", f"low{i}", rate=8000) for i in range(2)]
    with caplog.at_level("INFO", logger="asr_distill"):
        report = extract_features([*cuts, *low], tmp_path / "feats", Fbank40Config())
    assert report.resampled == 2
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("resampled")] == [
        "resampled 2 cuts from 8000 Hz to 16000 Hz"
    ]
    cut = list(report.cuts)[-1]
    assert cut.sampling_rate == RATE
    assert cut.features.num_frames == cut.num_frames == 50


def test_the_filterbank_of_telephones_is_named_where_it_is_not_used(tmp_path, caplog):
    cut = make_cut(tmp_path, "low", rate=8000)
    with caplog.at_level("INFO", logger="asr_distill"):
        extract_features([cut], tmp_path / "feats", Fbank40Config())
    assert "recipes/conf/fbank_8khz.yaml" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", logger="asr_distill"):
        extract_features([cut], tmp_path / "feats", Fbank40Config(sampling_rate=8000))
    assert "fbank_8khz" not in caplog.text


def test_resampling_keeps_a_tone():
    tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 22050).astype(np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(resample(tone, 22050, RATE)[200:-200], expected[200:-200], atol=2e-3)


def test_a_part_of_a_recording(cuts, tmp_path):
    part = cuts[2].truncate(offset=0.3, duration=0.5)
    report = extract_features([part], tmp_path / "feats", Fbank40Config())
    cut = next(iter(report.cuts))
    np.testing.assert_array_equal(cut.load_features(), Fbank40().extract(part.load_audio(), RATE))
    assert cut.features.start == 0.3


def test_two_channels_need_a_choice(tmp_path):
    samples = np.stack([np.zeros(8000), 0.1 * np.random.default_rng(0).standard_normal(8000)], axis=1)
    cut = make_cut(tmp_path, "stereo", samples=samples)
    with pytest.raises(UserError, match=r"stereo.*stereo\.wav.*--channel"):
        extract_features([cut], tmp_path / "feats", Fbank40Config())
    with pytest.raises(UserError, match="not 2"):
        extract_features([cut], tmp_path / "feats", Fbank40Config(), channel=2)
    for channel in (0, 1):
        stored = next(iter(extract_features([cut], tmp_path / "feats", Fbank40Config(), channel=channel).cuts))
        assert isinstance(stored, MonoCut)
        expected = Fbank40().extract(soundfile.read(str(tmp_path / "stereo.wav"), dtype="float32")[0][:, channel], RATE)
        np.testing.assert_array_equal(stored.load_features(), expected)


def bad_cut(kind, folder):
    cut = make_cut(folder, "bad")
    path = folder / "bad.wav"
    if kind == "missing":
        path.unlink()
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "no samples":
        soundfile.write(str(path), np.zeros(0), RATE)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:8000])
    elif kind == "shorter than its manifest":
        soundfile.write(str(path), np.zeros(4000), RATE)
    elif kind == "not audio":
        path.write_text("hello")
    elif kind == "NaN":
        cut = make_cut(folder, "bad", samples=np.array([0.1] * 4000 + [np.nan] * 4000), subtype="FLOAT")
    elif kind == "too short":
        cut = make_cut(folder, "bad", seconds=0.004)
    return cut


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "missing"),
        ("empty file", "empty"),
        ("no samples", "empty"),
        ("truncated", "truncated"),
        ("shorter than its manifest", "truncated"),
        ("not audio", "cannot be read"),
        ("NaN", "NaN"),
        ("too short", "too few"),
    ],
)
def test_bad_audio_is_refused_by_name(kind, says, cuts, tmp_path, caplog):
    bad = bad_cut(kind, tmp_path / "wav")
    with pytest.raises(UserError, match=rf"(?s)1 of 4 cuts.*cut bad \(.*bad\.wav\).*{says}"):
        extract_features([*cuts, bad], tmp_path / "feats", Fbank40Config(), jobs=2)
    report = extract_features([*cuts, bad], tmp_path / "feats", Fbank40Config(), max_bad_share=0.25)
    assert list(report.bad) == ["bad"]
    assert [cut.id for cut in report.cuts] == ["u1", "u2", "u3"]
    assert "cut bad" in caplog.text
    with pytest.raises(UserError, match="1 of 1"):
        extract_features([bad], tmp_path / "feats", Fbank40Config(), max_bad_share=1.0)


def test_duplicate_ids_are_refused(cuts, tmp_path):
    with pytest.raises(UserError, match=r"u1 .*twice"):
        extract_features([*cuts, cuts[0]], tmp_path / "feats", Fbank40Config())


def test_command_line(cuts, tmp_path, capsys):
    manifest = tmp_path / "manifests" / "cuts_train.jsonl.gz"
    manifest.parent.mkdir()
    CutSet.from_cuts(cuts).to_file(manifest)
    out = tmp_path / "fbank"
    command = ["features", "--cuts", str(manifest), "--output", str(out), "--json", "--jobs", "2"]
    assert main([*command, "--speed-perturb", "0.9,1"]) == 0
    result = json.loads(capsys.readouterr().out)["features"]["train"]
    assert (result["cuts"], result["computed"]) == (6, 6)
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)["features"]["train"]
    assert (result["reused"], result["removed"]) == (3, 3)
    assert len(list((out / "train").glob("*/*.npy"))) == 3
    assert json.loads((out / "fbank.json").read_text())["feature_type"] == "fbank40"
    (tmp_path / "conf.yaml").write_text("snip_edges: true\n")
    assert main([*command, "--config", str(tmp_path / "conf.yaml")]) == 1
    assert "snip_edges: False and True" in capsys.readouterr().err
    (tmp_path / "conf.yaml").write_text("snipedges: true\n")
    assert main([*command, "--config", str(tmp_path / "conf.yaml")]) == 1
    assert "did you mean 'snip_edges'" in capsys.readouterr().err


def test_splits_that_share_a_speaker_are_refused(cuts, tmp_path, capsys):
    paths = [str(tmp_path / f"cuts_{name}.jsonl.gz") for name in ("train", "test")]
    for path, part in zip(paths, (cuts[:2], cuts[2:]), strict=True):
        CutSet.from_cuts(part).to_file(path)
    command = ["features", "--cuts", *paths, "--output", str(tmp_path / "fbank")]
    assert main(command) == 1
    assert "speakers in both train and test" in (message := capsys.readouterr().err)
    assert "speaker ann" in message
    assert not (tmp_path / "fbank").exists()
    assert main([*command, "--allow-shared-speakers"]) == 0


def test_command_line_leaves_nothing_half_written(cuts, tmp_path, capsys):
    manifest = tmp_path / "cuts_train.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(manifest)
    (tmp_path / "wav" / "u2.wav").unlink()
    command = ["features", "--cuts", str(manifest), "--output", str(tmp_path / "fbank")]
    assert main(command) == 1
    assert "u2.wav" in capsys.readouterr().err
    assert not (tmp_path / "fbank" / "cuts_train.jsonl.gz").exists()
    assert main([*command, "--max-bad-share", "0.5"]) == 0
    assert json.loads((tmp_path / "fbank" / "bad_train.jsonl").read_text())["id"] == "u2"
    assert main(["features", "--cuts", str(manifest), "--output", str(tmp_path)]) == 1
    assert "overwritten" in capsys.readouterr().err


def test_recordings_without_any_supervision_become_unlabelled_frames(cuts, tmp_path, capsys):
    manifest, fbank = tmp_path / "cuts_transfer.jsonl.gz", tmp_path / "fbank"
    CutSet.from_cuts([cut.recording.to_cut() for cut in cuts]).to_file(manifest)
    assert main(["features", "--cuts", str(manifest), "--output", str(fbank), "--speed-perturb", "0.9,1.0"]) == 0
    words = ["frames", "--cuts", str(fbank / "cuts_transfer.jsonl.gz"), "--output", str(tmp_path / "frames")]
    assert main([*words, "--quiet"]) == 1
    assert "needs a speaker for every utterance" in capsys.readouterr().err
    assert main([*words, "--normalisation", "utterance", "--json", "--quiet"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["cuts"], written["labelled"]) == (6, 0)


@pytest.mark.parametrize("speeds", ["fast", "0.1", "0.90001"])
def test_bad_speeds_are_refused(speeds, cuts, tmp_path, capsys):
    manifest = tmp_path / "cuts_train.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(manifest)
    assert main(["features", "--cuts", str(manifest), "--output", str(tmp_path / "f"), "--speed-perturb", speeds]) == 1
    assert "speed" in capsys.readouterr().err
