"""Where the tests find the real corpora; a test that needs one that is absent is skipped by its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from asr_distill.base.processor import use_fast_products

# A busy machine is no failure: examples are judged by their outcome, not by their seconds.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")
use_fast_products()  # as every command does

ROOT = Path(__file__).resolve().parent.parent


def _corpus(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"{name} is not here: set {variable}")
    return folder


@pytest.fixture(scope="session")
def an4_dir() -> Path:
    """The AN4 corpus, as distributed (wav/ and etc/)."""
    return _corpus("AN4_DIR", "an4")


@pytest.fixture(scope="session")
def an4_reference_alignment(an4_dir: Path) -> Path:
    """The independent HTK state alignment of the AN4 training set."""
    path = an4_dir.parent / "an4_reference_alignment" / "glob_0000.mlf"
    if not path.is_file():
        pytest.skip("an4_reference_alignment is not beside the corpus")
    return path


@pytest.fixture(scope="session")
def speechocean762_dir() -> Path:
    """The training half of speechocean762."""
    return _corpus("SPEECHOCEAN762_DIR", "speechocean762")


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The four idx files of MNIST."""
    return _corpus("MNIST_DIR", "mnist")


@pytest.fixture(scope="session")
def omniglot_dir() -> Path:
    """Omniglot's two archives, as distributed."""
    return _corpus("OMNIGLOT_DIR", "omniglot")


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process of this id is still at work."""

    def answer(process: int) -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{process}/stat")  # one that ended after its parent may wait for init to notice
        return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")

    return answer


@pytest.fixture(scope="session")
def audio_cases() -> Path:
    """Small audio files that went wrong for somebody; their README says what is right."""
    return _corpus("CASES_DIR", "cases") / "audio"


@pytest.fixture(scope="session")
def librispeech_small_dir() -> Path:
    """Twenty speakers of LibriSpeech dev-clean, as MP3."""
    return _corpus("LIBRISPEECH_SMALL_DIR", "librispeech_dev_clean_20spk")
