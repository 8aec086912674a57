"""Makes ``small_lang.py`` importable from the tests beside it, whatever the import mode; AN4 with features, once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def an4_lang(an4_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from asr_distill.data.an4 import read_dictionary
    from asr_distill.lang import Lang, Lexicon

    folder = tmp_path_factory.mktemp("an4")
    (folder / "lexicon.txt").write_text(read_dictionary(an4_dir / "etc" / "an4.dic"), encoding="utf-8")
    return Lang.build(Lexicon.read(folder / "lexicon.txt"), folder / "lang", position_dependent=True)


@pytest.fixture(scope="session")
def an4_cuts(an4_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Forty utterances of four speakers, with filterbanks."""
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    from asr_distill.data.an4 import read_part
    from asr_distill.features import Fbank40Config, extract_features

    rows = read_part(an4_dir, "train", allow_partial=True)
    speakers = list(dict.fromkeys(row.speaker for row in rows))[:4]
    cuts = []
    for row in [row for speaker in speakers for row in [row for row in rows if row.speaker == speaker][:10]]:
        recording = Recording.from_file(row.audio, recording_id=row.id)
        supervision = SupervisionSegment(row.id, row.id, 0.0, recording.duration, text=row.text, speaker=row.speaker)
        cuts.append(MonoCut(row.id, 0.0, recording.duration, 0, recording=recording, supervisions=[supervision]))
    return list(extract_features(CutSet.from_cuts(cuts), tmp_path_factory.mktemp("fbank"), Fbank40Config()).cuts)
