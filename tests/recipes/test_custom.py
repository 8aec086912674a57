"""recipes/custom from its command line to what it asks of every stage; the programs only say what they were asked."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# `python -c` is asked whether k2 is there, and for the id of a cut; everything else is noted, and makes its folder.
SAYS = """#!/usr/bin/env bash
{ printf '%q ' "$(basename "$0")" "$@"; echo; } >> "$NOTES"
[ "$1" != -c ] || echo -cut
while [ $# -gt 0 ]; do [ "$1" != --output ] || mkdir -p "$(dirname "$2")" "${2%%.*}"; shift; done
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The recipes beside an environment whose programs only take notes."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "recipes", folder / "recipes", ignore=shutil.ignore_patterns("*.jsonl", "*.png"))
    (folder / "local").mkdir()
    (folder / "local" / "setup.sh").write_text(f"echo {folder}/venv\n")
    for name in ("asr-distill", "python"):
        program = folder / "venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(SAYS)
        program.chmod(0o755)
    return folder


def run(checkout: Path, *options: str, recipe: str = "custom") -> subprocess.CompletedProcess[str]:
    """A run from a folder that is not the checkout."""
    elsewhere = checkout.parent / "my corpus"
    elsewhere.mkdir(exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "NOTES": str(checkout / "notes")}
    command = ["bash", str(checkout / "recipes" / recipe / "run.sh"), *options]
    return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)


def asked(checkout: Path, *options: str) -> list[list[str]]:
    (checkout / "notes").unlink(missing_ok=True)
    done = run(checkout, *options)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in (checkout / "notes").read_text().splitlines()]


def option(words: list[str], name: str) -> list[str]:
    return [value for word, value in itertools.pairwise(words) if word == name]


def of(commands: list[list[str]], *begin: str) -> list[list[str]]:
    return [words for words in commands if tuple(words[: len(begin)]) == begin]


def prepared(commands: list[list[str]]) -> list[str]:
    (words,) = of(commands, "python", "local/prepare_kaldi.py")
    return words


PARTS = ("--train", "data/train", "--test", "/abs/cuts.jsonl.gz")


def test_paths_begin_where_the_user_stands(checkout: Path) -> None:
    here = checkout.parent / "my corpus"
    words = prepared(asked(checkout, *PARTS, "--dev", "dev dir", "--lexicon", "lex.txt", "--name", "x.1", "--stop-stage", "1"))
    first = words.index("--data-dir") + 1
    assert words[first : first + 3] == [f"train={here}/data/train", f"dev={here}/dev dir", "test=/abs/cuts.jsonl.gz"]
    assert option(words, "--lexicon") == [f"{here}/lex.txt"]
    assert option(words, "--audio-root") == [str(here)]
    assert (option(words, "--name"), option(words, "--output")) == (["x.1"], ["exp/custom-x.1/manifests"])
    assert (option(words, "--vocabulary"), option(words, "--cmudict")) == (["train"], ["no"])
    for absent in (
        "--dev-speakers",
        "--channel",
        "--allow-bad",
        "--sampling-rate",
        "--speaker-from",
        "--unknown-word",
        "--arpa",
    ):
        assert absent not in words


def test_options_of_the_preparation_are_handed_on(checkout: Path) -> None:
    given = {"--dev-speakers": "3", "--channel": "1", "--allow-bad": "0.1", "--sampling-rate": "16000"}
    given |= {"--speaker-from": "recording", "--unknown-word": "<UNK>", "--cmudict": "yes"}
    words = prepared(asked(checkout, *PARTS, *itertools.chain(*given.items()), "--stop-stage", "1"))
    assert {name: option(words, name) for name in given} == {name: [value] for name, value in given.items()}
    assert option(words, "--output") == ["exp/custom/manifests"]


def test_what_is_recognised_is_a_matter_of_the_language_model(checkout: Path) -> None:
    (checkout / "exp" / "custom" / "manifests").mkdir(parents=True)
    (checkout / "exp" / "custom" / "manifests" / "lexicon.txt").touch()  # as the preparation would
    commands = asked(checkout, *PARTS, "--unknown-word", "<UNK>", "--stop-stage", "3")
    (built,) = of(commands, "asr-distill", "lang", "build")
    assert "--vocabulary" not in built  # all of its words: dev and test are aligned with them
    assert option(built, "--lexicon") == ["exp/custom/manifests/lexicon.txt"]
    (ngram,) = of(commands, "asr-distill", "lang", "ngram")
    assert (option(ngram, "--vocabulary"), option(ngram, "--unknown-word")) == (["train"], ["<UNK>"])
    assert option(ngram, "--method") == ["kneser_ney"]
    assert all("--unknown-word" not in words for words in of(commands, "asr-distill", "lang", "g"))
    assert [words[-2:] for words in of(commands, "python", "-c")][-1:] == [["exp/custom/lang/ngram.arpa", "exp/custom/lang"]]


def test_too_few_leaves_are_noticed_when_the_phones_are_known(checkout: Path) -> None:
    commands = asked(checkout, *PARTS, "--num-leaves", "60", "--stop-stage", "3")
    (roots,) = of(commands, "asr-distill", "tree", "roots")
    assert (option(roots, "--lang"), option(roots, "--num-leaves")) == (["exp/custom/lang"], ["60"])
    assert commands.index(roots) < commands.index(of(commands, "asr-distill", "lang", "ngram")[0])


def test_a_language_model_of_ones_own_is_taken_as_it_is(checkout: Path) -> None:
    commands = asked(checkout, *PARTS, "--arpa", "my.arpa", "--stop-stage", "3")
    assert option(prepared(commands), "--arpa") == [f"{checkout.parent}/my corpus/my.arpa"]
    assert of(commands, "asr-distill", "lang", "ngram") == []
    measured = [*of(commands, "asr-distill", "lang", "ppl"), *of(commands, "asr-distill", "lang", "g")]
    assert {option(words, "--arpa")[0] for words in measured} == {"exp/custom/manifests/lm.arpa"}


def test_without_a_dictionary(checkout: Path) -> None:
    commands = asked(checkout, *PARTS, "--lang-kind", "subwords", "--stop-stage", "3")
    words = prepared(commands)
    assert option(words, "--lang-kind") == ["subwords"]
    assert "--cmudict" not in words
    (built,) = of(commands, "asr-distill", "lang", "subwords")
    assert (option(built, "--vocabulary-size"), option(built, "--kind")) == (["200"], ["bpe"])
    (ngram,) = of(commands, "asr-distill", "lang", "ngram")
    assert "--vocabulary" not in ngram


def test_the_whole_recipe_with_distillation(checkout: Path) -> None:
    commands = asked(checkout, *PARTS, "--distillation", "yes", "--ensemble-size", "3", "--temperature", "3", "--threads", "1")
    assert {option(words, "--num-leaves")[0] for words in of(commands, "asr-distill", "tree") if "--num-leaves" in words} == {
        "auto"
    }
    (targets,) = of(commands, "asr-distill", "soft-targets")
    assert (option(targets, "--mode"), option(targets, "--temperatures")) == (["topk"], ["1,2,3,5,10"])
    trained = {Path(option(words, "--output")[0]).name: words for words in of(commands, "asr-distill", "train")}
    assert option(trained["baseline"], "--seeds")[-1] == "0-2"
    assert option(trained["control"], "--seeds") == ["0-2"]
    distilled = {Path(option(words, "--output")[0]).name for words in of(commands, "asr-distill", "distill")}
    assert {"sweep", "distilled"} <= distilled
    (plot,) = of(commands, "asr-distill", "align", "plot")
    assert plot[-2:] == ["--", "-cut"]
    (report,) = of(commands, "asr-distill", "report")
    assert option(report, "--config") == ["recipes/custom/conf/recipe.report.yaml"]
    assert "--publish" not in report
    (line,) = option(report, "--command")
    assert (
        line == f"bash recipes/custom/run.sh {' '.join(PARTS)} --distillation yes --ensemble-size 3 --temperature 3 --threads 1"
    )
    assert not (checkout.parent / "my corpus" / "exp").exists()


def test_ablations_want_every_senone_of_the_targets(checkout: Path) -> None:
    options = ("--distillation", "yes", "--ablations", "yes", "--stage", "18", "--stop-stage", "18")
    (targets,) = of(asked(checkout, *PARTS, *options), "asr-distill", "soft-targets")
    assert option(targets, "--mode") == ["dense"]
    (targets,) = of(asked(checkout, *PARTS, *options, "--target-mode", "--mode sampled"), "asr-distill", "soft-targets")
    assert option(targets, "--mode") == ["sampled"]


def test_targets_are_stored_for_every_temperature_that_an_option_names(checkout: Path) -> None:
    options = ("--distillation", "yes", "--stage", "18", "--stop-stage", "18", "--transfer-speeds", "0.9,1.0", "--warm", "yes")
    own = ("--transfer-targets", "--temperature 3 --hard-weight 0", "--warm-targets", "--hard-weight 0 --temperature=1.5")
    (targets,) = of(asked(checkout, *PARTS, *options, *own), "asr-distill", "soft-targets")
    assert option(targets, "--temperatures") == ["1,1.5,2,3,5,10"]
    (targets,) = of(asked(checkout, *PARTS, *options), "asr-distill", "soft-targets")
    assert option(targets, "--temperatures") == ["1,2,5,10"]


def test_a_run_is_of_one_corpus(checkout: Path) -> None:
    assert run(checkout, *PARTS, "--stop-stage", "1").returncode == 0
    assert run(checkout, *PARTS, "--stop-stage", "2", "--num-leaves", "90").returncode == 0  # no option of the preparation
    other = run(checkout, "--train", "other", "--test", "/abs/cuts.jsonl.gz", "--stop-stage", "1")
    assert other.returncode == 1
    assert "exp/custom holds a run on other data" in other.stderr
    assert "my corpus/data/train, asked for train=" in other.stderr
    assert run(checkout, "--train", "other", "--test", "t", "--name", "second", "--stop-stage", "1").returncode == 0


def test_what_is_done_is_done_with_the_options_that_it_was_done_with(checkout: Path) -> None:
    assert run(checkout, *PARTS, "--stop-stage", "6").returncode == 0
    done = run(checkout, *PARTS, "--stop-stage", "6", "--threads", "1", "--beam-options", "--beam 20")  # of later stages
    assert done.returncode == 0
    assert [line.split(" ", 1)[1] for line in done.stderr.splitlines()][-1] == "Stage 6: senones is done"
    for options, stage, before, now in (
        (("--num-leaves", "90"), 5, "--num-leaves auto", "--num-leaves 90"),
        (("--speed-perturb", "1.0"), 2, "--speed-perturb 0.9\\,1.0\\,1.1", "--speed-perturb 1.0"),
        (("--ngram", "--order 3"), 3, "--ngram --order\\ 2\\ --method\\ kneser_ney", "--ngram --order\\ 3"),
    ):
        done = run(checkout, *PARTS, *options)
        assert done.returncode == 1
        assert f"error: stage {stage} " in done.stderr
        assert f"was run with {before}, now it is {now}. Next: --stage {stage}," in done.stderr
    assert run(checkout, *PARTS, "--num-leaves", "90", "--stage", "5", "--stop-stage", "6").returncode == 0
    assert run(checkout, *PARTS, "--num-leaves", "90", "--stop-stage", "7").returncode == 0


def test_only_a_first_stage_runs_what_is_done_again(checkout: Path) -> None:
    commands = asked(checkout, *PARTS, "--stop-stage", "2")
    assert len(of(commands, "asr-distill", "features")) == 2
    commands = asked(checkout, *PARTS, "--stop-stage", "3")
    assert of(commands, "asr-distill", "features") == []
    assert len(of(commands, "asr-distill", "lang", "build")) == 1
    done = run(checkout, *PARTS, "--stage", "1", "--stop-stage", "1")
    assert done.returncode == 0
    done = run(checkout, *PARTS, "--stop-stage", "3")
    assert "note: stage 1-prepare was run again after stage 3 (lang); --stage 3 runs that and all after it anew" in done.stderr


def test_help_shows_each_option_with_its_default(checkout: Path) -> None:
    text = run(checkout, "--help").stdout
    assert "  --num-leaves auto   # 360 times the root of the hours" in text
    assert "  --normalisation speaker\n" in text
    assert text.count("--num-leaves") == 1
    assert "A corpus of your own, from audio to word error rates" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected --train PATH and --test PATH"),
        (("--train", "x"), "expected --train PATH and --test PATH"),
        ((*PARTS, "--name", "a/b"), "--name 'a/b': expected letters, digits, dots, dashes and underscores"),
        ((*PARTS, "--name", ".."), "--name '..': expected letters"),
        ((*PARTS, "--publish", "yes"), "--publish yes: the figures of your own corpus stay in the run's folder"),
        ((*PARTS, "--vocabulary", "lexicon"), "--vocabulary lexicon: expected --lexicon FILE with it"),
        ((*PARTS, "--lang-kind", "subwords", "--lexicon", "x"), "--lang-kind subwords needs no lexicon"),
        ((*PARTS, "--stage", "sweep"), "--stage 'sweep': expected the number of a stage"),
        ((*PARTS, "--stop-stage", "-1"), "--stop-stage '-1': expected the number of a stage"),
        ((*PARTS, "--stage", "7", "--stop-stage", "5"), "--stage 7 --stop-stage 5: expected a first stage that is not after"),
        ((*PARTS, "--phone-loop", "0"), "--phone-loop '0': expected yes or no"),
        ((*PARTS, "--cmudict", "true"), "--cmudict 'true': expected yes or no"),
        ((*PARTS, "--trian", "x"), "unknown option --trian; known: "),
    ],
    ids=lambda value: " ".join(value)[-30:],
)
def test_mistakes_are_one_line_before_any_work(checkout: Path, options: tuple[str, ...], message: str) -> None:
    done = run(checkout, *options)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (checkout / "exp").exists()
    assert not (checkout / "notes").exists()


@pytest.mark.parametrize("recipe", ["an4", "speechocean762", "custom"])
def test_what_is_yes_or_no_is_nothing_else(checkout: Path, recipe: str) -> None:
    """`--distillation true` would be no, and `--warm true` yes."""
    named = "paper publish triphone distillation sweep warm ablations sequence specialists large phone_loop wide"
    for name in named.split():
        done = run(checkout, f"--{name.replace('_', '-')}", "true", recipe=recipe)
        assert (done.returncode, done.stderr) == (1, f"error: --{name.replace('_', '-')} 'true': expected yes or no\n")
    assert not (checkout / "notes").exists()


def test_no_stage_may_be_asked_for(checkout: Path) -> None:
    """So that what stands before the stages can be looked at."""
    commands = asked(checkout, *PARTS, "--stage", "900", "--stop-stage", "901")
    assert of(commands, "asr-distill") == []


def test_shared_speakers_are_allowed_in_every_stage_or_in_none(checkout: Path) -> None:
    for words, expected in (((), False), (("--allow-shared-speakers", "yes"), True)):
        shutil.rmtree(checkout / "exp", ignore_errors=True)
        commands = asked(checkout, *PARTS, *words, "--distillation", "yes", "--stage", "1", "--stop-stage", "20")
        asking = [prepared(commands), *of(commands, "asr-distill", "train"), *of(commands, "asr-distill", "distill")]
        asking += [command for command in of(commands, "asr-distill", "features") if "--speed-perturb" not in command]
        assert len(asking) > 5
        assert all(("--allow-shared-speakers" in command) == expected for command in asking)


@pytest.mark.parametrize(
    ("hours", "lexicon", "config", "tiny"),
    [
        ("0.0447", "<SIL> SIL\nYES Y\nNO N\n", "tiny", True),
        ("0.0447", "".join(f"W{n} P{n} Q{n}\n" for n in range(5)), "cpu", True),
        ("0.1", "YES Y\n", "cpu", False),
        ("12.5", "YES Y\n", "cpu", False),
        (None, "YES Y\n", "cpu", False),
    ],
)
def test_the_size_of_the_corpus_chooses_settings(
    checkout: Path, hours: str | None, lexicon: str, config: str, tiny: bool
) -> None:
    manifests = checkout / "exp" / "custom" / "manifests"
    manifests.mkdir(parents=True)
    (manifests / "lexicon.txt").write_text(lexicon)
    if hours is not None:
        corpus = {"parts": {"train": "x"}, "counts": {"train": {"words": 3, "hours": float(hours)}, "dev": {"hours": 9.0}}}
        (manifests / "corpus.json").write_text(json.dumps(corpus, indent=2) + "\n")
    commands = asked(checkout, *PARTS, "--stop-stage", "12")
    first, baseline = of(commands, "asr-distill", "train")
    assert option(baseline, "--config") == [f"recipes/conf/{config}.yaml"]
    assert option(first, "--config") == ["recipes/conf/tiny.yaml" if config == "tiny" else "recipes/conf/first.yaml"]
    penalties = [option(words, "--word-penalty")[0] for words in of(commands, "asr-distill", "lang", "g")]
    assert penalties == (["0.0", "3.0", "6.0"] if tiny else ["0.0"])
    scales = {grid for words in of(commands, "asr-distill", "decode") for grid in option(words, "--scale-grid")}
    assert scales == {"0.05,0.07,0.1,0.14" + (",0.2,0.28,0.4" if tiny else "")}
    mine = asked(checkout, *PARTS, "--config", "my.yaml", "--lm-grid", "1.0:1.0", "--stage", "1", "--stop-stage", "12")
    assert option(of(mine, "asr-distill", "train")[1], "--config") == ["my.yaml"]
    assert [option(words, "--word-penalty") for words in of(mine, "asr-distill", "lang", "g")] == [["1.0"]]
