"""Commands that a recipe calls often begin without the libraries that they have no use for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asr_distill.cli.main import main

HEAVY = ("torch", "lhotse", "k2", "scipy", "matplotlib", "soundfile", "kaldi_native_fbank")
LOADED = f"""
import sys
from asr_distill.cli.main import main
status = main(sys.argv[1:])
print([name for name in {HEAVY} if name in sys.modules])
sys.exit(status)
"""


def loaded(*words: object) -> str:
    done = subprocess.run([sys.executable, "-c", LOADED, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lang directory, text and a language model."""
    folder = tmp_path_factory.mktemp("lang")
    (folder / "lexicon.txt").write_text("YES Y EH S\nNO N OW\n")
    (folder / "text").write_text("YES NO\nNO\n")
    (folder / "ref").write_text("a YES NO\nb NO\n")
    command = ["lang", "build", "--lexicon", str(folder / "lexicon.txt"), "--output", str(folder / "lang"), "--quiet"]
    assert main(command) == 0
    model = ["--text", str(folder / "text"), "--output", str(folder / "g.arpa"), "--quiet"]
    assert main(["lang", "ngram", *model]) == 0
    return folder


@pytest.mark.parametrize("command", ["verify", "once", "score", "ngram", "g", "ppl"])
def test_nothing_heavy_is_imported(command: str, folder: Path, tmp_path: Path) -> None:
    once = ["--records", tmp_path, "--writes", tmp_path / "x", "--", "touch", tmp_path / "x"]
    words: dict[str, list[object]] = {
        "verify": ["verify", folder / "lang"],
        "once": ["once", *once],
        "score": ["score", "--ref", folder / "ref", "--hyp", folder / "ref"],
        "ngram": ["lang", "ngram", "--lang", folder / "lang", "--text", folder / "text", "--output", tmp_path / "n.arpa"],
        "g": ["lang", "g", "--lang", folder / "lang", "--arpa", folder / "g.arpa", "--output", tmp_path / "G.fst"],
        "ppl": ["lang", "ppl", "--arpa", folder / "g.arpa", "--text", folder / "text"],
    }
    assert loaded(*words[command]) == "[]"
