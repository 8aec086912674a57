"""Options of sequence training that an objective would not read are refused, and none of them reaches a process of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from asr_distill.cli.main import main
from asr_distill.cli.train_sequence import complete_sequence_options, configure_sequence, sequence_options

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
def test_a_process_is_given_only_what_its_objective_reads(objective: str, own: str, other: str) -> None:
    parser = argparse.ArgumentParser()
    configure_sequence(parser)
    args = parser.parse_args(["--objective", objective, own])
    complete_sequence_options(args)
    words = sequence_options(args)
    assert own in words
    assert not any(word.startswith(f"--{other}=") for word in words)
    again = parser.parse_args(words)
    complete_sequence_options(again)
    assert again == args
