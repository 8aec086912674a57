import gzip

import pytest
from lhotse import CutSet

from asr_distill.base import UserError
from asr_distill.data import check_cuts, check_disjoint_speakers, load_cuts


@pytest.fixture
def cuts(stores, tmp_path):
    made = []
    for index, speaker in enumerate(("ann", "bob")):
        cut = stores.make_cut(tmp_path, f"u{index}", 50, speaker=speaker, labels=False)
        path = tmp_path / f"u{index}.wav"
        path.write_bytes(b"RIFF")
        cut.recording.sources[0].source = str(path)
        made.append(cut)
    return made


def test_good_cuts_pass(cuts):
    check_cuts(cuts, "cuts.jsonl.gz")
    check_disjoint_speakers({"train": cuts[:1], "test": cuts[1:]})


def supervision(cut):
    return cut.supervisions[0]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda cuts: cuts.append(cuts[1]), "duplicate cut ids"),
        (lambda cuts: setattr(cuts[1], "duration", 0.0), "no duration"),
        (lambda cuts: setattr(cuts[1], "supervisions", []), "without a supervision"),
        (lambda cuts: setattr(supervision(cuts[1]), "duration", 0.52), "past the end of their recording"),
        (lambda cuts: setattr(cuts[1], "duration", 0.3), "outside their cut"),
        (lambda cuts: setattr(supervision(cuts[1]), "text", "  "), "empty transcripts"),
        (lambda cuts: setattr(supervision(cuts[1]), "text", None), "empty transcripts"),
        (lambda cuts: setattr(supervision(cuts[1]), "speaker", None), "without a speaker"),
        (lambda cuts: setattr(cuts[1].recording.sources[0], "source", "/nowhere/u1.wav"), "missing audio"),
    ],
)
def test_bad_cuts_are_refused_by_name(spoil, says, cuts):
    spoil(cuts)
    with pytest.raises(UserError, match=rf"(?s)cuts\.jsonl\.gz: .*{says}.*cut u1 \(.*u1\.wav\)"):
        check_cuts(cuts, "cuts.jsonl.gz")


def test_options_leave_things_out(cuts):
    supervision(cuts[0]).text = ""
    supervision(cuts[0]).speaker = None
    cuts[0].recording.sources[0].source = "/nowhere/u0.wav"
    check_cuts(cuts, "x", need_text=False, need_speaker=False, need_audio=False)
    cuts[0].supervisions = []
    check_cuts(cuts, "x", need_supervision=False, need_audio=False)


def test_all_problems_are_listed_and_long_lists_are_cut_short(stores, tmp_path):
    cuts = [stores.make_cut(tmp_path, f"u{i}", 5, labels=False) for i in range(30)]
    for cut in cuts:
        cut.supervisions[0].text = ""
    with pytest.raises(UserError, match=r"30 x empty transcripts.*and 20 more") as error:
        check_cuts(cuts, "x")
    assert "30 x missing audio files" in str(error.value)


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (lambda a, b: setattr(supervision(b), "speaker", "ann"), "speaker ann"),
        (lambda a, b: setattr(b, "id", a.id), "cut u0"),
        (lambda a, b: setattr(b.recording, "id", a.recording.id), "recording u0"),
    ],
)
def test_splits_that_share_are_refused(share, says, cuts):
    share(*cuts)
    with pytest.raises(UserError, match=rf"in both train and test.*{says}"):
        check_disjoint_speakers({"train": cuts[:1], "test": cuts[1:]})


def test_load(cuts, tmp_path):
    path = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(path)
    assert [cut.id for cut in load_cuts(path)] == ["u0", "u1"]
    with pytest.raises(UserError, match="does not exist"):
        load_cuts(tmp_path / "other.jsonl.gz")
    with gzip.open(path, "at") as stream:
        stream.write('{"id": "u3", "type": "MonoCut"\n')
    with pytest.raises(UserError, match=r"cuts\.jsonl\.gz"):
        load_cuts(path)
    with gzip.open(path, "wt") as stream:
        stream.write("")
    with pytest.raises(UserError, match=r"cuts\.jsonl\.gz"):
        load_cuts(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"cuts\.jsonl\.gz"):
        load_cuts(path)
