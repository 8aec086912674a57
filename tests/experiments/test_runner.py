"""The runner: order, what is left alone, what is named, what is made again; with jobs that only write a file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asr_distill.base import UserError, write_text
from asr_distill.base.executor import Executor
from asr_distill.experiments.estimate import Rates, duration
from asr_distill.experiments.runner import RECORDS, REPLACED, Outcome, Runner, complaints
from asr_distill.experiments.steps import Step


@dataclass(frozen=True)
class Write:
    """Writes what it reads, and its word."""

    output: Path
    word: str
    inputs: tuple[Path, ...] = ()
    threads: int = 1

    def run(self) -> dict[str, Any]:
        if self.word == "fail":
            raise UserError(f"{self.output.name} cannot be made")
        write_text(self.output, "+".join([*(path.read_text() for path in self.inputs), self.word]), listed=True)
        return {}


def chain(run: Path, words: dict[str, str], needs: dict[str, tuple[str, ...]], threads: int = 1) -> list[Step]:
    def step(name: str) -> Step:
        inputs = tuple(run / other for other in needs.get(name, ()))
        job = Write(run / name, words[name], inputs, threads)
        return Step(name, f"{name}/write", lambda: job, (run / name,), tuple(f"{other}/write" for other in needs.get(name, ())))

    return [step(name) for name in words]


WORDS = {"a": "1", "b": "2", "c": "3", "d": "4"}
NEEDS = {"b": ("a",), "c": ("b",), "d": ("a",)}
Make = Callable[..., Outcome]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(words: dict[str, str] = WORDS, redo: tuple[str, ...] = (), threads: int = 1) -> Outcome:
        return Runner(tmp_path, chain(tmp_path, words, NEEDS, threads), redo).make(Executor())

    return make


def test_everything_is_made_once_in_order(make: Make, tmp_path: Path) -> None:
    assert make().made == ["a/write", "b/write", "c/write", "d/write"]
    assert (tmp_path / "c").read_text() == "1+2+3"
    assert make().made == []
    assert make(threads=7).made == []  # where it runs decides nothing
    (tmp_path / "c").unlink()
    assert make().made == ["c/write"]


def test_what_changed_is_named_and_made_again_only_where_that_is_asked_for(make: Make, tmp_path: Path) -> None:
    make()
    other = {**WORDS, "b": "20"}
    outcome = make(other)
    assert (outcome.made, outcome.changed, outcome.held) == ([], {"b/write": ("word: 2 -> 20",)}, ["c/write"])
    said = complaints(outcome)
    assert said is not None
    assert "b/write: word: 2 -> 20" in said
    assert "--redo b," in said
    assert (tmp_path / "b").read_text() == "1+2"
    outcome = make(other, redo=("b",))  # c, whose input is another now, is not asked for
    assert outcome.made == ["b/write"]
    assert list(outcome.changed) == ["c/write"]
    assert (tmp_path / REPLACED / "b.1").read_text() == "1+2"
    assert make(other, redo=("b", "c")).made == ["c/write"]
    assert (tmp_path / "c").read_text() == "1+20+3"
    assert make(other).made == []


def test_an_output_that_was_edited_is_not_taken_and_not_overwritten(make: Make, tmp_path: Path) -> None:
    make()
    write_text(tmp_path / "a", "mine", listed=True)
    outcome = make()
    assert outcome.changed == {"a/write": (f"{tmp_path / 'a'} is not as it was made",)}
    assert (tmp_path / "a").read_text() == "mine"


def test_a_failure_holds_back_what_needs_it_and_nothing_else(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "asr_distill"):
        outcome = make({**WORDS, "b": "fail"})
    assert (outcome.made, outcome.failed, outcome.held) == (["a/write", "d/write"], ["b/write"], ["c/write"])
    assert "b cannot be made" in caplog.text
    assert "failed: b/write" in (complaints(outcome) or "")
    assert complaints(Outcome(made=["a"])) is None


def test_standings_say_what_would_be_made(tmp_path: Path) -> None:
    steps = chain(tmp_path, WORDS, NEEDS)
    runner = Runner(tmp_path, steps)
    assert [one.state for one in runner.standings().values()] == ["to do", "waits", "waits", "waits"]
    runner.make(Executor())
    changed = chain(tmp_path, {**WORDS, "d": "0"}, NEEDS)
    assert {name: one.state for name, one in Runner(tmp_path, changed).standings().items() if one.state != "done"} == {
        "d/write": "changed"
    }
    assert Runner(tmp_path, changed, ("d",)).standings()["d/write"].state == "again"


def test_names_that_are_not_made_here_are_refused(tmp_path: Path) -> None:
    steps = chain(tmp_path, WORDS, NEEDS)
    with pytest.raises(UserError, match="c/write needs b/write, which no entry makes"):
        Runner(tmp_path, [step for step in steps if step.entry != "b"])
    with pytest.raises(UserError, match="--redo x: it is not among"):
        Runner(tmp_path, steps, ("x",))


def test_times_come_from_what_is_done(make: Make, tmp_path: Path) -> None:
    steps = chain(tmp_path, WORDS, NEEDS)
    assert Rates(tmp_path / RECORDS, steps).of(steps[0]) is None
    make()
    rates = Rates(tmp_path / RECORDS, steps)
    assert rates.of(steps[0]) == 0
    rates.ended(Step("a", "a/x/write", steps[0].make, ()), 30.0)
    assert rates.of(steps[0]) == 15
    assert [duration(seconds) for seconds in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]
