"""Options of sequence training that an objective would not read are refused, and those it reads reach it."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from asr_distill.base import UserError
from asr_distill.cli.main import main
from asr_distill.cli.train_sequence import configure_sequence, sequence_objective
from asr_distill.experiments.training_job import SequenceObjective

FILES = [f"--{name}={Path(__file__).parent}" for name in ("train", "inventory", "priors", "output")]


@pytest.mark.parametrize(
    ("objective", "option", "other"),
    [
        ("smbr", "--boost=0.1", "lfmmi"),
        ("smbr", "--boost=0", "lfmmi"),
        ("smbr", "--lang=.", "lfmmi"),
        ("smbr", "--tolerance=5", "lfmmi"),
        ("lfmmi", "--margin=0.1", "smbr"),
    ],
)
def test_an_option_of_the_other_objective_is_refused(
    objective: str, option: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *FILES, "--objective", objective, option]) == 1
    told = capsys.readouterr().err
    assert f"{option.partition('=')[0]} belongs to --objective {other}, found --objective {objective}" in told
    assert "leave it out" in told


@pytest.mark.parametrize(
    ("objective", "own", "other"),
    [
        ("lfmmi", "--boost=0.1", "margin"),
        ("lfmmi", "--lang=lang", "margin"),
        ("lfmmi", "--tolerance=-1", "margin"),
        ("smbr", "--margin=0.2", "boost"),
        ("smbr", "--margin=0.2", "tolerance"),
    ],
)
def test_what_is_given_wins_over_the_defaults_of_the_objective(objective: str, own: str, other: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--initial-model")
    configure_sequence(parser)
    args = parser.parse_args(["--objective", objective, own, "--alignments=a.jsonl.gz", "--initial-model=m"])
    found = sequence_objective(args)
    assert found is not None
    name, _, value = own[2:].partition("=")
    assert str(getattr(found, name)) == value
    assert getattr(found, other) == getattr(SequenceObjective(found.objective, found.alignments), other)


def test_files_that_sequence_training_reads_are_asked_for() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--initial-model")
    configure_sequence(parser)
    assert sequence_objective(parser.parse_args([])) is None
    for given in (["--alignments=a.jsonl.gz"], ["--initial-model=m"]):
        with pytest.raises(UserError, match=r"needs --alignments .* and --initial-model"):
            sequence_objective(parser.parse_args(["--objective=lfmmi", *given]))
