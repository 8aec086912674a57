"""systems.yaml: `like` differs in nothing but what it says, mistakes name the entry, recipes' own tables are whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from asr_distill.base import UserError
from asr_distill.experiments.reading import read_table
from asr_distill.experiments.table import KINDS, Entry, Table

ROOT = Path(__file__).resolve().parents[2]
SMALL = """
recipe: small
search: {language_models: [bigram], scales: [0.1]}
systems:
  baseline: {train: hard, seeds: 0-2, set: {network.width: 8, epochs: 2}}
  ensemble: {combine: arithmetic, members: baseline}
  targets: {store: ensemble, mode: dense}
  sweep: {sweep: targets, temperatures: [1, 2]}
  student: {distil: targets, point: sweep, soft_weight: 0.5, set: {epochs: 3, network.width: 8}, seeds: [0, 2]}
"""


def read(tmp_path: Path, text: str, name: str = "systems.yaml") -> Table:
    (tmp_path / name).write_text(text)
    return read_table(tmp_path / name)


def test_a_control_differs_in_nothing_but_its_targets(tmp_path: Path) -> None:
    table = read(tmp_path, SMALL + "  control: {like: student, train: hard}\n")
    student, control = table.systems["student"], table.systems["control"]
    lesson = {"train", "distil", "point", "soft_weight"}
    for field in dataclasses.fields(Entry):
        same = getattr(student, field.name) == getattr(control, field.name)
        assert same == (field.name not in lesson), field.name
    assert control.kind == "train"


def test_a_likeness_is_changed_key_by_key(tmp_path: Path) -> None:
    more = "  half: {like: student, set: {network.width: 4}, seeds: 0}\n  quarter: {like: half, set: {network.width: 2}}\n"
    table = read(tmp_path, SMALL + more)
    assert table.systems["half"].set == {"epochs": 3, "network.width": 4}
    assert table.systems["quarter"].set == {"epochs": 3, "network.width": 2}
    assert table.systems["quarter"].seeds == (0,)
    assert table.systems["quarter"].point == "sweep"


def test_entries_come_behind_what_they_read(tmp_path: Path) -> None:
    table = read(tmp_path, SMALL + "tables: {table1: {rows: [baseline, student]}}\n")
    assert table.wanted(("student",)) == ["baseline", "ensemble", "targets", "sweep", "student"]
    assert table.wanted(("table1",)) == ["baseline", "ensemble", "targets", "sweep", "student"]
    assert table.wanted(("targets", "baseline")) == ["baseline", "ensemble", "targets"]
    with pytest.raises(UserError, match=r"no entry or table 'teacher'; known: baseline"):
        table.wanted(("teacher",))


def test_a_shared_file_is_merged_as_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text(SMALL)
    own = (
        "include: shared.yaml\nrecipe: own\nsearch: {phones: false}\nsystems:\n  baseline: {set: {epochs: 5}}\n  sweep: null\n"
    )
    table = read(tmp_path, own + "  student: {point: null, temperature: 2, hard_weight: 0}\n")
    assert table.recipe == "own"
    assert "sweep" not in table.systems
    assert table.systems["baseline"].set == {"network.width": 8, "epochs": 5}
    search = table.systems["student"].search
    assert search is not None
    assert (search.language_models, search.phones, table.systems["student"].temperature) == (("bigram",), False, 2.0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x: {train: hard, wdith: 3}", r"x: 'wdith' does not go with `train`; keys that do: accuracy"),
        ("x: {train: hard, temperature: 3}", "x: 'temperature' does not go with `train`"),
        ("x: {seeds: 0}", "x: found only seeds; expected exactly one of train, distil"),
        ("x: {train: hard, combine: best}", "x: found train, combine; expected exactly one"),
        ("x: {train: soft}", "x: train: found 'soft', expected one of hard"),
        ("x: {train: lfmmi}", "`train: lfmmi` fine-tunes a trained network; next: start: NAME"),
        ("x: {distil: targets, temperature: 2}", "a student needs `temperature` and `hard_weight`, or `point: SWEEP`"),
        ("x: {distil: gone, temperature: 2, hard_weight: 0}", "x: there is no entry 'gone'; known: baseline"),
        ("x: {like: y}\n  y: {like: x}", "x: like: x -> y -> x is a circle"),
        ("x: {like: z}", "x: like: there is no entry 'z'"),
        ("x: 3", "x: found 3, expected keys and values"),
        ("x: {combine: arithmetic}", "an ensemble needs `members: NAME`"),
        ("x: {combine: arithmetic, members: targets}", "x: members: targets is `store`, expected train or distil"),
        ("x: {train: hard, start: y}\n  y: {train: hard, start: x}", "x -> y -> x read each other in a circle"),
        ("x: {train: hard, seeds: 3-1}", "x: seeds: found '3-1', expected a number, a range"),
        ("x/y: {train: hard}", "the name 'x/y' is part of paths"),
        ("x: {train: hard, search: {beems: 3}}", "unknown key 'beems' .did you mean 'beam'"),
    ],
)
def test_mistakes_name_the_entry(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, f"{SMALL}  {line}\n")


def test_an_include_of_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="includes itself"):
        read(tmp_path, "include: systems.yaml\n" + SMALL)


def test_every_key_of_an_entry_goes_with_some_kind() -> None:
    known = frozenset().union(*KINDS.values(), KINDS, ("label", "note"))
    assert known == {field.name for field in dataclasses.fields(Entry)}


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*/systems.yaml")), ids=lambda path: path.parent.name)
def test_tables_of_recipes_are_whole(path: Path) -> None:
    table = read_table(path)
    assert set(table.wanted(())) <= set(table.systems)
    for entry in table.systems.values():
        assert entry.config is None or entry.config.is_file()
