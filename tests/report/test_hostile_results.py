"""Files of figures by other people: whatever stands in them, `report`, `score` and `compare` end in figures or in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_run import configuration, make_run

from asr_distill.base import UserError, read_json, write_json
from asr_distill.base.files import parse_json
from asr_distill.cli.main import main
from asr_distill.report import build_report, load_report_config, publish

HOSTILE = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1",
    "-0.5",
    "1e308",
    "9" * 30,
    "9" * 5000,
    "null",
    "true",
    '""',
    "[]",
    "{}",
]
HOSTILE += [
    '"\\ud800"',
    "[[[1]]]",
    '{"a": {"a": 1}}',
    '"x"',
    "1.5",
    "[null]",
    "[" * 2000 + "]" * 2000,
    "",
    "{",
    '"\\u0000"',
    "0",
]


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, item in items for place in places(item, (*here, key)))]


def spoilt(value: Any, place: tuple[Any, ...], text: str | None) -> str:
    """The JSON text of ``value`` with ``text`` at a place, or with nothing there."""
    if not place:
        return text or ""
    value = copy.deepcopy(value)
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    if text is None:
        del inner[place[-1]]
        return json.dumps(value)
    inner[place[-1]] = "PUT HERE"
    return json.dumps(value).replace('"PUT HERE"', text)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A folder with results.json and per_utterance.jsonl, and what is in them."""
    folder = tmp_path_factory.mktemp("published")
    run = make_run(folder / "run")
    publish(build_report(run, load_report_config(configuration(folder))), run, folder / "out", [])
    rows = [json.loads(line) for line in (folder / "out" / "per_utterance.jsonl").read_text().splitlines()]
    return folder / "spoilt", read_json(folder / "out" / "results.json"), rows


def answers(folder: Path, results: str, rows: str, of_rows: bool) -> None:
    """Every command that reads the spoilt one of the two files returns a status, and raises nothing."""
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(results, encoding="utf-8")
    (folder / "per_utterance.jsonl").write_text(rows, encoding="utf-8")
    sides = [f"{folder}/per_utterance.jsonl:{name}" for name in ("baseline", "ensemble")]
    quick = ["--samples", "20", "--quiet"]
    commands = [["score", "--per-utterance", str(folder / "per_utterance.jsonl"), *quick]]
    if of_rows:
        commands += [["compare", *sides, *quick], ["compare", *sides, "--metric", "frame_accuracy", *quick]]
    else:
        commands += [["report", "--results", str(folder / "results.json"), "--quiet"]]
    for command in commands:
        assert main(command) in (0, 1)


def spoil(data: st.DataObject, published: tuple[Path, dict[str, Any], list[dict[str, Any]]]) -> None:
    folder, results, rows = published
    text, lines = json.dumps(results), [json.dumps(row) for row in rows]
    hostile = data.draw(st.one_of(st.none(), st.sampled_from(HOSTILE)))
    of_rows = data.draw(st.booleans())
    if not of_rows:
        text = spoilt(results, data.draw(st.sampled_from(places(results))), hostile)
    else:
        number = data.draw(st.integers(0, len(rows) - 1))
        lines[number] = spoilt(rows[number], data.draw(st.sampled_from(places(rows[number]))), hostile)
    answers(folder, text, "\n".join(lines) + "\n", of_rows)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_hostile_figures_end_in_one_line(published: Any, data: st.DataObject) -> None:
    spoil(data, published)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_two_thousand_hostile_figures_end_in_one_line(published: Any, data: st.DataObject) -> None:
    spoil(data, published)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NaN", "NaN is no JSON number"),
        ("[1, -Infinity]", "-Infinity is no JSON number"),
        ("1e999", "1e999 is beyond"),
        ("9" * 5000, "digits"),
        ("[" * 100_000, "brackets within brackets"),
        ('{"a": "\\ud800"}', "surrogates"),
        ("{", "Expecting"),
    ],
)
def test_json_that_could_not_be_written_again(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"x.json is not valid JSON"):
        read_json(tmp_path / "x.json")


def test_pairs_of_surrogates_are_characters(tmp_path: Path) -> None:
    value = parse_json('"\\ud83d\\ude00"')
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == "\U0001f600"
