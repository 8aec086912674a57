"""The stages of recipes/distillation.sh, with the command line replaced by one that only says what it was asked."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
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
source recipes/paper_size.sh
eval "$(sed -n '/^exp=""/,/^conf=/p' recipes/speech.sh)"
for name in seq_of first_seed decode_system senones_from write_frames write_vocabulary; do
  eval "$(sed -n "/^$name()/,/^}/p" recipes/speech.sh)"
done
keep_scale() { :; }
exp=$1 sweep=no language_models=bigram engines=k2
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


def test_ablations_of_a_smaller_budget_have_a_student_and_a_control_of_that_budget(tmp_path: Path) -> None:
    found = trained(tmp_path, "student_options='--set epochs=12'; ablation_options='--set epochs=4'; train_ablations")
    assert (found["ab_reference"][0], found["ab_reference_hard"][0]) == ("distill", "train")
    assert {tuple(option(words, "--set")[:2]) for words in found.values()} == {("epochs=12", "epochs=4")}  # the last counts
    assert not any("reference" in name for name in trained(tmp_path, "train_ablations"))


def test_networks_of_the_papers_size_and_their_student_differ_in_their_targets_only(tmp_path: Path) -> None:
    asked = commands(tmp_path, "ensemble_size=3 large_options='--set epochs=1' large_student_seeds=0-1; train_large")
    members, combined, targets, student = asked
    assert option(combined, "--output") == [f"{tmp_path}/models/large_ensemble/seed0"]
    assert option(targets, "--teacher") == option(combined, "--output")
    assert option(student, "--soft-targets") == option(targets, "--output")
    assert (option(members, "--seeds"), option(student, "--seeds")) == (["0-2"], ["0-1"])
    for same in ("--set", "--config", "--train", "--dev", "--inventory", "--priors"):
        assert option(members, same) == option(student, same) != []
    assert option(student, "--config") == ["recipes/conf/paper.yaml"]


def test_warm_students_and_their_controls_start_from_the_baseline_of_their_seed(tmp_path: Path) -> None:
    options = "student_options='--set epochs=12' warm_options='--set epochs=6' student_seeds=0-1"
    found = trained(tmp_path, f"measure_seeds() {{ :; }}; {options}; warm_students")
    student, control = found["warm"], found["warm_control"]
    assert (student[0], control[0], list(found)) == ("distill", "train", ["warm", "warm_control"])
    assert option(student, "--initial-model") == [f"{tmp_path}/models/baseline/seed{{seed}}"]
    assert option(student, "--set") == ["epochs=12", "epochs=6"]  # the last counts
    for same in ("--set", "--config", "--train", "--dev", "--inventory", "--priors", "--seeds", "--initial-model"):
        assert option(student, same) == option(control, same) != []
    assert (option(student, "--temperature"), option(student, "--hard-weight")) == (["2"], ["0.5"])
    asked = f"measure_seeds() {{ :; }}; warm_targets='--temperature 7 --hard-weight 0'; {options}; warm_students"
    assert option(trained(tmp_path, asked)["warm"], "--temperature") == ["7"]


def test_students_on_more_speeds_and_their_controls_differ_in_their_targets_only(tmp_path: Path) -> None:
    options = "transfer_speeds=0.9,1.0 student_options='--set epochs=12' student_seeds=0-1"
    work = f"measure_seeds() {{ :; }}; {options}; transfer_students"
    found = trained(tmp_path, work)
    student, control = found["transfer"], found["transfer_control"]
    assert (student[0], control[0], list(found)) == ("distill", "train", ["transfer", "transfer_control", "transfer_baseline"])
    for same in ("--set", "--config", "--train", "--dev", "--inventory", "--priors", "--seeds"):
        assert option(student, same) == option(control, same) != []
    assert option(found["transfer_baseline"], "--train") == option(student, "--train")
    assert option(found["transfer_baseline"], "--config") == ["recipes/conf/cpu.yaml"]
    asked = {words[0]: words for words in commands(tmp_path, work)}
    assert option(asked["features"], "--speed-perturb") == ["0.9,1.0"]
    frames, targets = asked["frames"], asked["soft-targets"]
    assert option(frames, "--output") == option(targets, "--frames") == option(student, "--train")
    assert option(targets, "--output") == option(student, "--soft-targets")
    assert option(trained(tmp_path, f"{work}; train_seeds conf after 0")["after"], "--train") == [
        f"{tmp_path}/senones/frames/train"
    ]
    asked_for = f"transfer_targets='--temperature 7 --hard-weight 0'; {work}"
    assert option(trained(tmp_path, asked_for)["transfer"], "--temperature") == ["7"]


@pytest.mark.parametrize("kind", ["speaker", "corpus"])
def test_statistics_of_the_corpus_are_those_of_the_training_frames(tmp_path: Path, kind: str) -> None:
    """Training refuses a store with other statistics than its own, and the members are asked about frames like theirs."""
    work = f"measure_seeds() {{ :; }}; normalisation={kind}; senones_from align $exp/senones cuts; transfer_students"
    frames = {Path(option(c, "--output")[0]): c for c in commands(tmp_path, work) if c[0] == "frames"}
    train, *others = frames
    assert [path.name for path in frames] == ["train", "dev", "test", "train"]
    assert (option(frames[train], "--normalisation"), option(frames[train], "--normalisation-from")) == ([kind], [])
    for path in others:
        found = option(frames[path], "--normalisation"), option(frames[path], "--normalisation-from")
        assert found == (([], [str(train)]) if kind == "corpus" else ([kind], []))


def test_the_vocabulary_is_what_the_language_model_and_the_lexicon_share(tmp_path: Path) -> None:
    """`--vocabulary train` restricts the language model only: the lexicon has words that are never recognised."""
    (tmp_path / "lang").mkdir()
    names = ["<eps>", "NEVER", "ZWEI", "\u00c4PFEL", "<UNK>", "#0", "<s>", "</s>"]
    (tmp_path / "lang" / "words.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names)), encoding="utf-8")
    unigrams = ["<s>", "</s>", "<UNK>", "<unk>", "ZWEI", "\u00c4PFEL", "UNSAYABLE"]
    counts = f"\\data\\\nngram 1={len(unigrams)}\nngram 2=1\n\n\\1-grams:\n"
    entries = "".join(f"-1.0\t{name}\t-0.1\n" for name in unigrams)
    arpa = tmp_path / "lang" / "bigram.arpa"
    arpa.write_text(f"{counts}{entries}\n\\2-grams:\n-1.0\tZWEI ZWEI\n\n\\end\\\n", encoding="utf-8")
    python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}'
    assert commands(tmp_path, f"{python}; write_vocabulary {shlex.quote(str(arpa))}") == []
    assert (tmp_path / "lang" / "vocabulary.txt").read_text(encoding="utf-8") == "ZWEI\n\u00c4PFEL\n"


def test_students_of_every_mode_of_the_store_differ_in_the_store_only(tmp_path: Path) -> None:
    options = "student_options='--set epochs=12' ablation_options='--set epochs=2'"
    found = trained(tmp_path, f"measure_seeds() {{ :; }}; {options}; compare_stores")
    assert list(found) == ["dense", "topk", "topk_44", "topk_mean", "sampled"]
    for words in found.values():
        for same in ("--set", "--config", "--train", "--seeds", "--temperature", "--hard-weight"):
            assert option(words, same) == option(found["dense"], same) != []
    assert [Path(option(words, "--soft-targets")[0]).name for words in found.values()] == ["ensemble", *list(found)[1:]]
    asked = commands(tmp_path, f"measure_seeds() {{ :; }}; target_options='--autocast auto'; {options}; compare_stores")
    assert [option(c, "--autocast") for c in asked if c[0] == "soft-targets" and "--mode" in c] == 4 * [["auto"]]


def test_the_store_that_holds_everything_is_written_where_the_students_have_another(tmp_path: Path) -> None:
    work = "measure_seeds() { :; }; target_mode='--mode topk --temperatures 1,2'; compare_stores"
    student = trained(tmp_path, work)["dense"]
    targets = {option(c, "--output")[0]: c for c in commands(tmp_path, work) if c[0] == "soft-targets"}
    (read,) = option(student, "--soft-targets")
    assert (option(targets[read], "--mode"), option(targets[read], "--temperatures")) == (["dense"], [])


def test_logits_are_matched_where_the_store_holds_them(tmp_path: Path) -> None:
    assert "ab_logits" in trained(tmp_path, "train_ablations")
    assert "ab_logits" not in trained(tmp_path, "target_mode='--mode topk --temperatures 1'; train_ablations")


def test_sequence_training_has_the_same_steps_of_cross_entropy_beside_it(tmp_path: Path) -> None:
    for system in ("baseline", "distilled", "warm"):
        (tmp_path / "models" / system / "seed0").mkdir(parents=True)
    options = "train_options='--set network.width=9' student_options='--set network.layers=2'"
    found = trained(tmp_path, f"measure_seeds() {{ :; }}; {options}; train_sequence")
    assert set(found) == {f"{kind}_{system}" for kind in ("mmi", "ce") for system in ("baseline", "distilled", "warm")}
    for system in ("baseline", "distilled", "warm"):
        mmi, plain = found[f"mmi_{system}"], found[f"ce_{system}"]
        assert (option(mmi, "--objective"), option(plain, "--objective")) == (["lfmmi"], [])
        for same in ("--set", "--config", "--initial-model"):
            assert option(mmi, same) == option(plain, same) != []
        # a network is of the size of the one that it starts from; of what is said twice the last counts
        size = "network.width=9" if system == "baseline" else "network.layers=2"
        assert option(mmi, "--set")[:2] == [size, "epochs=1"]


def test_seeds_need_not_begin_at_zero(tmp_path: Path) -> None:
    settings = "seeds=3,4 student_seeds=1-2"
    for folder in ("baseline/seed3", "distilled/seed1", "warm/seed1", "ab_half/seed0", "ab_half_hard/seed0"):
        (tmp_path / "models" / folder).mkdir(parents=True)
    asked = commands(tmp_path, f"{settings}; train_ablations")
    teachers = [option(c, "--teacher")[0] for c in asked if c[0] == "soft-targets"]
    assert f"{tmp_path}/models/distilled/seed1" in teachers
    assert not any("distilled/seed0" in teacher for teacher in teachers)

    found = trained(tmp_path, f"measure_seeds() {{ :; }}; {settings}; train_sequence")
    starts = {name: option(words, "--initial-model")[0].removeprefix(f"{tmp_path}/models/") for name, words in found.items()}
    read = {"baseline": "baseline/seed3", "distilled": "distilled/seed1", "warm": "warm/seed1"}
    assert starts == {f"{kind}_{system}": start for kind in ("mmi", "ce") for system, start in read.items()}
    assert {option(words, "--seeds")[0] for words in found.values()} == {"0"}  # as the reports read them

    asked = commands(tmp_path, f"{settings}; decode_ablations; compare_stores")
    chosen = {option(c, "--output")[0] for c in asked if c[0] == "decode" and "--scale-grid" in c}
    dev = {f"{tmp_path}/decode/{system}_bigram/seed1/dev" for system in ("distilled", "control")} | chosen  # by earlier stages
    scales = {str(Path(option(c, "--scales-from")[0]).parent) for c in asked if c[0] == "decode" and "--scales-from" in c}
    assert {place for place in scales if "_phones" not in place} <= dev
    assert f"{tmp_path}/decode/dense_bigram/seed0/dev" in scales


def written(exp: Path, asked: list[list[str]]) -> set[str]:
    """Files and folders that these commands write, relative to the run; `FILE#STORE` for what is measured on a frame store."""
    found = set()
    for words in asked:
        if words[0] == "score":
            continue  # it adds to a folder that is there
        output = option(words, "--output")[0].removeprefix(f"{exp}/")
        if words[0] in ("train", "distill"):
            first, _, last = option(words, "--seeds")[0].partition("-")
            found |= {f"{output}/seed{seed}" for seed in range(int(first), int(last or first) + 1)}
        elif words[0] == "accuracy":
            stores = itertools.takewhile(lambda word: not word.startswith("--"), words[words.index("--frames") + 1 :])
            found |= {f"{output}#{Path(store).name}" for store in stores}
        else:
            found.add(output)
    return found


@pytest.mark.parametrize("recipe", ["an4", "speechocean762", "custom"])
def test_every_row_reads_what_the_stages_write_and_every_network_has_a_row(tmp_path: Path, recipe: str) -> None:
    for system in ("baseline", "distilled", "warm"):
        (tmp_path / "models" / system / "seed0").mkdir(parents=True)
    most = "ensemble_size=10 ensemble_sizes_wer='2 3 4 5 6 7 8 9' student_seeds=0-4 small_data='0.03:9 0.1:9 0.2:9 0.5:9'"
    settings = f"source recipes/{recipe}/conf/recipe.conf; sweep=no target_mode='--mode dense' {most}"
    work = (
        "train_ensemble; decode_ensemble; train_students; decode_students; warm_students; transfer_students;"
        " train_small_data; decode_small_data"
    )
    asked = commands(tmp_path, f"{settings}; {work}; large_networks; train_ablations; compare_stores; train_sequence")
    for output in [Path(option(words, "--output")[0]) for words in asked if words[0] in ("train", "distill")]:
        if output.name.startswith("ab_"):
            (output / "seed0").mkdir(parents=True)
    files = written(tmp_path, [*asked, *commands(tmp_path, f"{settings}; decode_ablations")])

    elsewhere = re.compile(r"(mono|tri|paper|paper_kaldi|baseline_kaldi|baseline_wide)(_uniform)?")
    config = load_report_config(ROOT / f"recipes/{recipe}/conf/recipe.report.yaml")
    rows = [row for row in config.systems if not elsewhere.fullmatch(row.name)]
    read = set()
    for row in rows:
        scores = [row.decode, row.per, row.dev, row.dev_wer, row.train, row.cross_entropy]
        places = [place for place in (*scores, row.model, row.models, row.temperature) if isinstance(place, str)]
        for place, seed in itertools.product(places, row.seeds):
            file, _, keys = place.replace("{seed}", str(seed)).replace("{first}", str(row.seeds[0])).partition("#")
            store = f"#{keys.split('.')[0]}" if file.startswith("accuracy/") else ""
            read.add(re.sub(r"/(decode|completed|ensemble)\.json$", "", file) + store)
    assert read - files == set()
    networks = {Path(file).parts[1] for file in files if file.startswith("models/")}
    assert networks == {Path(row.decode).parts[1].removesuffix(f"_{row.lm}") for row in rows}


def test_controls_are_searched_at_the_scales_of_the_control(tmp_path: Path) -> None:
    for name in ("ab_half", "ab_half_hard"):
        (tmp_path / "models" / name / "seed0").mkdir(parents=True)
    asked = commands(tmp_path, "decode_ablations")
    searched = [c for c in asked if c[0] == "decode" and option(c, "--system")[0].startswith("ab_")]
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
    assert {Path(option(c, "--scales-from")[0]).parts[-4] for c in searched} == {"ensemble_bigram"}
    assert [c for c in commands(tmp_path, "measure_seeds() { :; }; decode_ensemble") if c[0] != "accuracy"] == []


def test_sizes_that_the_ensemble_does_not_have_are_named_and_left_out(tmp_path: Path) -> None:
    """AN4's configuration lists those of ten networks, whatever --ensemble-size."""
    settings = "source recipes/an4/conf/recipe.conf; ensemble_size=3; say() { printf '%q\\n' \"$*\"; }"
    asked = commands(tmp_path, f"{settings}; measure_seeds() {{ :; }}; train_ensemble; decode_ensemble")
    said = [c[0] for c in asked if len(c) == 1]
    assert said[0] == "the ensemble has 3 networks: none of 4 is searched"
    assert len(said) == 6
    assert {option(c, "--system")[0] for c in asked if c[0] == "decode"} == {"ensemble_2", "ensemble_3"}


def test_the_other_means_are_searched_with_the_ablations(tmp_path: Path) -> None:
    """Stage 17 may be done when they are first asked for."""
    (tmp_path / "models/ab_half/seed0").mkdir(parents=True)
    (tmp_path / "models/geometric/seed0").mkdir(parents=True)
    (tmp_path / "models/geometric/seed0/ensemble.json").write_text("{}")
    asked = commands(tmp_path, "decode_ablations")
    searched = {option(c, "--system")[0] for c in asked if c[0] == "decode"}
    assert searched == {"geometric", "weighted", "best", "ab_half"}
    combined = {option(c, "--mode")[0]: option(c, "--dev") for c in asked if c[0] == "ensemble"}
    assert combined == {key: [f"{tmp_path}/senones/frames/dev"] for key in ("weighted", "best")}


def test_phones_are_left_out_where_they_are_not_asked_for(tmp_path: Path) -> None:
    def searched(work: str) -> set[str]:
        return {Path(option(c, "--output")[0]).parts[-3] for c in commands(tmp_path, work) if c[0] == "decode"}

    assert searched("measure_seeds warm '0 1'") == {"warm_bigram", "warm_phones"}
    assert searched("phone_loop=no; measure_seeds warm '0 1'") == {"warm_bigram"}
    weights = tmp_path / "models/warm/seed0/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    for name in ("accuracy/warm/seed0.json", "decode/warm_bigram/seed0/test/decode.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert searched("phone_loop=no; measure_seeds warm 0") == set()  # done before, and the phones are not waited for
    assert searched("measure_seeds warm 0") == {"warm_bigram", "warm_phones"}
