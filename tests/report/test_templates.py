"""Templates of report.yaml: rows by hand, mistakes that are named, and the recipes' own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from asr_distill.base import UserError, load_config
from asr_distill.report import ReportConfig, load_report_config
from asr_distill.report.configuration import BestOnDev
from asr_distill.report.templates import expand_templates

ROOT = Path(__file__).parents[2]
TEMPLATES: dict[str, Any] = {
    "network": {"lm": "bigram", "decode": "decode/{model}_{lm}/seed{seed}/test", "model": "models/{model}/seed{seed}"},
    "student": {"template": "network", "temperature": "models/{model}/seed{seed}/completed.json#t", "note": "{name}"},
}


def expand(**row: Any) -> dict[str, Any]:
    expanded = expand_templates({"recipe": "an4", "templates": TEMPLATES, "systems": [row]})
    assert "templates" not in expanded
    return expanded["systems"][0]


def test_a_row_has_its_templates_keys_filled() -> None:
    assert expand(name="ab_half", label="half", template="student") == {
        "name": "ab_half",
        "label": "half",
        "lm": "bigram",
        "decode": "decode/ab_half_bigram/seed{seed}/test",
        "model": "models/ab_half/seed{seed}",
        "temperature": "models/ab_half/seed{seed}/completed.json#t",
        "note": "ab_half",
    }


def test_model_and_lm_of_the_row_fill_the_template_and_its_own_keys_win() -> None:
    row = expand(
        name="b_uniform", template="student", model="b", lm="uniform", temperature=2, dev="accuracy/{model}/{name}.json#x"
    )
    assert row["decode"] == "decode/b_uniform/seed{seed}/test"
    assert (row["model"], row["lm"], row["note"]) == ("models/b/seed{seed}", "uniform", "b_uniform")
    assert (row["temperature"], row["dev"]) == (2, "accuracy/b/b_uniform.json#x")


def test_a_row_without_a_template_is_left_alone() -> None:
    row = {"name": "mono", "decode": "decode/{what}/seed{seed}", "model": "models/mono"}
    assert expand(**row) == row


def test_a_file_reads_as_if_written_out(tmp_path: Path) -> None:
    short, long = tmp_path / "short.yaml", tmp_path / "long.yaml"
    row = {"name": "a", "template": "student", "seeds": [0, 1], "note": None}
    short.write_text(yaml.safe_dump({"recipe": "an4", "templates": TEMPLATES, "systems": [row]}), encoding="utf-8")
    whole = {
        **{"name": "a", "seeds": [0, 1], "lm": "bigram", "decode": "decode/a_bigram/seed{seed}/test"},
        **{"model": "models/a/seed{seed}", "temperature": "models/a/seed{seed}/completed.json#t"},
    }
    long.write_text(yaml.safe_dump({"recipe": "an4", "systems": [whole]}), encoding="utf-8")
    assert load_report_config(short) == load_config(ReportConfig, long) == load_report_config(long)


@pytest.mark.parametrize(
    ("templates", "row", "named"),
    [
        ({}, {"template": "studnet"}, "no template 'studnet' .did you mean 'student'.*known: network, student"),
        ({}, {"template": ["student"]}, "no template .*known: network, student"),
        (
            {"x": {"decode": "{sead}"}},
            {},
            "template 'x': unknown placeholder {sead} in '{sead}';"
            " known: {engine}, {first}, {lm}, {model}, {models}, {name}, {seed}",
        ),
        (
            {},
            {"template": "network", "note": "{}"},
            "system 'a': unknown placeholder {} in '{}'; known: {engine}, {first}, {lm}",
        ),
        ({"x": {"dev": "{lm}"}}, {"template": "x"}, "asks for {lm}, but the row has none"),
        ({"x": {"decodes": "y"}}, {}, "template 'x' has the key 'decodes'; valid keys: command, cross_entropy, decode, dev"),
        ({"x": {"template": "y"}, "y": {"template": "x"}}, {}, "stands on itself: x -> y -> x"),
        ({"x": {"template": "z"}}, {}, "templates: no template 'z'"),
        ({"x": "decode/x"}, {}, "expected names, each with keys"),
    ],
)
def test_mistakes_are_named(templates: dict[str, Any], row: dict[str, Any], named: str) -> None:
    values = {"templates": {**TEMPLATES, **templates}, "systems": [{"name": "a", "decode": "d", **row}]}
    with pytest.raises(UserError, match=named):
        expand_templates(values)


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("recipes/*/conf/*.report.yaml")), ids=lambda path: f"{path.parts[-3]}-{path.name}"
)
def test_what_a_recipe_reports_names_its_own_systems(path: Path) -> None:
    config = load_report_config(path)
    names = {system.name for system in config.systems}
    named = {name for table in config.tables.values() for name in table.rows}
    named |= {name for pair in config.comparisons for name in (pair.a, pair.b)}
    for regained in [table.regained for table in config.tables.values() if table.regained]:
        named |= {regained.full, *regained.pairs, *regained.pairs.values()}
    named |= {figure.split(".")[0] for figure in config.headline.values() if isinstance(figure, str) and "#" not in figure}
    named |= {name for figure in config.headline.values() if isinstance(figure, BestOnDev) for name in figure.best_on_dev}
    if config.gain:
        named |= {config.gain.baseline, config.gain.ensemble, config.gain.distilled}
    assert named <= names
    assert all("{seed}" in system.decode for system in config.systems)


def test_a_report_stands_on_another(tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text(
        "recipe: common\ntitle: Common\nunit: utterance\ntemplates: {t: {lm: bigram, decode: 'd/{name}_{lm}'}}\n"
        "systems: [{name: a, template: t, label: first}, {name: b, template: t}]\ncomparisons: [{a: a, b: b, metric: wer}]\n"
    )
    (tmp_path / "conf").mkdir()
    own = tmp_path / "conf/report.yaml"
    own.write_text(
        "base: ../common.yaml\nrecipe: own\ntemplates: {t: {lm: trigram}}\n"
        "systems: [{name: b, label: second}, {name: c, template: t}]\ncomparisons: [{a: c, b: a, metric: wer}]\n"
    )
    config = load_report_config(own)
    assert (config.recipe, config.title, config.unit) == ("own", "Common", "utterance")
    assert [(row.name, row.label, row.decode) for row in config.systems] == [
        ("a", "first", "d/a_trigram"),
        ("b", "second", "d/b_trigram"),
        ("c", "", "d/c_trigram"),
    ]
    assert [(pair.a, pair.b) for pair in config.comparisons] == [("a", "b"), ("c", "a")]
    (tmp_path / "common.yaml").write_text("base: conf/report.yaml\n")
    with pytest.raises(
        UserError, match=r"base '.*report.yaml': expected the path of another report.yaml that does not stand on"
    ):
        load_report_config(own)


def on_a_base(folder: Path, own: str) -> Path:
    (folder / "common.yaml").write_text(
        "recipe: common\nsystems: [{name: a, decode: d}, {name: b, decode: d}, {name: c, decode: d}]\n"
        "comparisons: [{a: b, b: a, metric: wer}, {a: b, b: a, metric: per}, {a: c, b: a, metric: per}]\n"
    )
    (folder / "own.yaml").write_text(f"base: common.yaml\n{own}\n")
    return folder / "own.yaml"


def test_new_rows_stand_before_the_one_that_they_name(tmp_path: Path) -> None:
    config = load_report_config(
        on_a_base(
            tmp_path,
            "systems: [{name: x, decode: d, before: b}, {name: b, label: named}, {name: y, decode: d, before: b},"
            " {name: z, decode: d}, {name: w, decode: d, before: {name: x}}]\n"
            "comparisons: [{a: x, b: y, before: {a: b, metric: per}}, {a: y, b: x, before: {metric: per}},"
            " {a: z, b: x, before: {a: c}}]",
        )
    )
    assert [row.name for row in config.systems] == ["a", "w", "x", "y", "b", "c", "z"]
    assert [row.label for row in config.systems if row.label] == ["named"]
    found = [f"{pair.a} {pair.b} {pair.metric}" for pair in config.comparisons]
    assert found == ["b a wer", "x y wer", "y x wer", "b a per", "z x wer", "c a per"]


def test_lists_of_names_and_numbers_replace_those_of_the_base(tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text(
        "recipe: common\nsystems: [{name: a, decode: 'd/{seed}', seeds: [0, 1, 2]}, {name: b, decode: d}]\n"
        "tables: {t: {title: T, rows: [a, b]}}\nlists: {l: {rows: 'f#r', columns: [x, y]}}\nfigures: [one.png]\n"
        "comparisons: [{a: a, b: b}]\n"
    )
    (tmp_path / "own.yaml").write_text(
        "base: common.yaml\nsystems: [{name: a, seeds: [5]}]\ntables: {t: {rows: [b]}}\nlists: {l: {columns: [z]}}\n"
        "figures: []\ncomparisons: []\n"
    )
    config = load_report_config(tmp_path / "own.yaml")
    assert config.systems[0].seeds == (5,)
    assert (config.tables["t"].title, config.tables["t"].rows) == ("T", ("b",))
    assert config.lists["l"].columns == ("z",)
    assert config.figures == ()
    assert len(config.comparisons) == 1  # no row is added to those of the base


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("systems: [{name: x, decode: d, before: bb}]", r"own.yaml: before 'bb': expected the name of a row of the base"),
        ("comparisons: [{a: a, b: b, before: {a: b, metric: dev}}]", r"before \{'a': 'b', 'metric': 'dev'\}: expected"),
        ("systems: [{name: [b], decode: d}]", r"own.yaml: a row has the name \['b'\]; expected a text"),
        ("systems: [{name: b, before: a}]", r"own.yaml: 'b' has `before`, which places a new row, but the base has that row"),
    ],
)
def test_a_place_that_is_not_there_is_refused(own: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        load_report_config(on_a_base(tmp_path, own))
