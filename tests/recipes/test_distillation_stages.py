"""The stages of recipes/distillation.sh, with the command line replaced by one that only says what it was asked."""

from __future__ import annotations

import itertools
import shlex
import subprocess
from pathlib import Path

import pytest

from asr_distill.report import load_report_config

ROOT = Path(__file__).resolve().parent.parent.parent
PRELUDE = """
set -euo pipefail
distill() { printf '%q ' "$@"; echo; }
say() { :; }
source recipes/stages.sh
source recipes/distillation.sh
eval "$(sed -n '/^exp=""/,/^conf=/p' recipes/speech.sh)"
eval "$(sed -n '/^seq_of()/,/^}/p' recipes/speech.sh)"
exp=$1 sweep=no language_models=bigram
shift
"""


def commands(exp: Path, work: str) -> list[list[str]]:
    """What `asr-distill` would be asked, word by word."""
    done = subprocess.run(
        ["bash", "-c", PRELUDE + work, "bash", str(exp)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return [shlex.split(line) for line in done.stdout.splitlines()]


def option(words: list[str], name: str) -> list[str]:
    return [value for word, value in itertools.pairwise(words) if word == name]


def trained(exp: Path, work: str) -> dict[str, list[str]]:
    """The training commands of a stage, by the system's name."""
    return {Path(option(c, "--output")[0]).name: c for c in commands(exp, work) if c[0] in ("train", "distill")}


def test_controls_of_ablations_differ_in_their_targets_only(tmp_path: Path) -> None:
    found = trained(tmp_path, "student_options='--set epochs=3'; train_ablations")
    controls = [name for name in found if name.endswith("_hard")]
    assert controls == ["ab_half_hard", "ab_quarter_hard", "ab_deeper_hard", "ab_wider_hard", "ab_masked_hard"]
    for name in controls:
        student, control = found[name.removesuffix("_hard")], found[name]
        assert (student[0], control[0]) == ("distill", "train")
        for same in ("--set", "--config", "--train", "--dev", "--inventory", "--priors", "--seeds"):
            assert option(student, same) == option(control, same) != []
    assert option(found["ab_logits"], "--loss") == ["logits"]


def test_sequence_training_has_the_same_steps_of_cross_entropy_beside_it(tmp_path: Path) -> None:
    for system in ("baseline", "distilled"):
        (tmp_path / "models" / system / "seed0").mkdir(parents=True)
    found = trained(tmp_path, "measure_seeds() { :; }; train_sequence")
    assert set(found) == {"mmi_baseline", "ce_baseline", "mmi_distilled", "ce_distilled"}
    for system in ("baseline", "distilled"):
        mmi, plain = found[f"mmi_{system}"], found[f"ce_{system}"]
        assert (option(mmi, "--objective"), option(plain, "--objective")) == (["lfmmi"], [])
        for same in ("--set", "--config", "--initial-model"):
            assert option(mmi, same) == option(plain, same) != []


@pytest.mark.parametrize("recipe", ["an4", "speechocean762"])
def test_every_network_of_these_stages_has_a_row(tmp_path: Path, recipe: str) -> None:
    for system in ("baseline", "distilled"):
        (tmp_path / "models" / system / "seed0").mkdir(parents=True)
    names = {system.name for system in load_report_config(ROOT / f"recipes/{recipe}/conf/recipe.report.yaml").systems}
    stages = "measure_seeds() { :; }; train_ablations; train_small_data; train_students; train_sequence"
    assert set(trained(tmp_path, stages)) <= names


def test_controls_are_searched_at_the_scales_of_the_control(tmp_path: Path) -> None:
    for name in ("ab_half", "ab_half_hard"):
        (tmp_path / "models" / name / "seed0").mkdir(parents=True)
    searched = [c for c in commands(tmp_path, "decode_ablations") if c[0] == "decode"]
    scales = {(option(c, "--system")[0], Path(option(c, "--scales-from")[0]).parts[-4]) for c in searched}
    assert scales == {
        *(("ab_half", f"distilled_{name}") for name in ("bigram", "phones")),
        *(("ab_half_hard", f"control_{name}") for name in ("bigram", "phones")),
    }


def test_smaller_ensembles_are_searched_at_the_scales_of_the_whole(tmp_path: Path) -> None:
    asked = commands(tmp_path, "measure_seeds() { :; }; ensemble_size=4 ensemble_sizes_wer='2 3'; decode_ensemble")
    combined = {Path(option(c, "--output")[0]).parts[-2]: c for c in asked if c[0] == "ensemble"}
    assert list(combined) == ["ensemble_2", "ensemble_3"]
    members = combined["ensemble_2"][combined["ensemble_2"].index("--members") + 1 :][:3]
    assert [Path(word).name for word in members] == ["seed0", "seed1", "--mode"]
    searched = [c for c in asked if c[0] == "decode"]
    assert {option(c, "--system")[0] for c in searched} == set(combined)
    assert {Path(option(c, "--scales-from")[0]).parts[-4] for c in searched} == {"ensemble_bigram", "ensemble_phones"}
    assert [c for c in commands(tmp_path, "measure_seeds() { :; }; decode_ensemble") if c[0] != "accuracy"] == []
