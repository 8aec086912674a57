"""The contract of results.json: its keys, the fixed names of its headline, and what may never stand in it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_distill.base import UserError
from asr_distill.report.per_utterance import Systems

_SPEECH = (
    "baseline_wer ensemble_wer distilled_wer best_wer baseline_frame_accuracy ensemble_frame_accuracy distilled_frame_accuracy"
    " baseline_per ensemble_per distilled_per gain_transferred gain_transferred_ci95 p_distilled_beats_baseline student_seeds"
    " full_hard_frame_accuracy hard_3pct_frame_accuracy soft_3pct_frame_accuracy senones"
).split()
_BIAS = "omit3_bias_errors omit3_bias_errors_on_threes only78_bias_error_percent".split()
_LARGE_LABELS = (
    "generalist_accuracy specialists_accuracy generalist_conditional_accuracy specialists_conditional_accuracy"
    " soft_regularised_specialists_accuracy distilled_back_accuracy equal_cost_ensemble_accuracy p_specialists_improve"
    " specialists"
).split()

HEADLINE_NAMES: dict[str, tuple[str, ...]] = {
    "an4": (*_SPEECH, "alignment_boundary_median_ms", "baseline_wer_uniform_lm", "best_wer_uniform_lm"),
    "speechocean762": tuple(_SPEECH),
    "demo": tuple(_SPEECH),
    "mnist": (
        *"teacher_errors small_hard_errors small_distilled_errors omit3_errors".split(),
        *_BIAS,
        "only78_error_percent",
        *(f"{name}_paper_protocol" for name in _BIAS),
    ),
    "glyphs": tuple(_LARGE_LABELS),
    "omniglot": tuple(_LARGE_LABELS),
    "bench": tuple(
        (
            "train_vs_resident_loop_cpu train_vs_matmul_cpu train_vs_matmul_paper_cpu train_mfu_gpu fbank_vs_native"
            " search_k2_vs_kaldi_5000_words store_read_vs_student_step store_bytes_per_frame_14k"
        ).split()
    ),
}

SOURCES = ("real", "synthesised", "rendered")


@dataclass
class Report:
    """results.json and the utterances that it can be recomputed from."""

    results: dict[str, Any]
    utterances: Systems


def empty_results(recipe: str) -> dict[str, Any]:
    """results.json with every key of the contract, nothing measured."""
    return {
        "schema": 1,
        "recipe": recipe,
        "command": None,
        "commit": None,
        "date": None,
        "environment": {"python": None, "torch": None, "k2": None, "engine": None, "cpu": None, "device": None},
        "data": {"source": None},
        "systems": [],
        "comparisons": [],
        "tables": {},
        "headline": dict.fromkeys(HEADLINE_NAMES.get(recipe, ())),
    }


def empty_system(name: str) -> dict[str, Any]:
    """A system with every key of the contract, nothing measured."""
    return {
        "name": name,
        "label": None,
        "lm": None,
        "seeds": [],
        "parameters": None,
        "models": None,
        "temperature": None,
        "soft_weight": None,
        "hard_weight": None,
        "frame_accuracy": {"train": None, "dev": None, "test": None},
        "frame_accuracy_ci95": None,
        "frame_accuracy_speech": None,
        "frame_accuracy_silence": None,
        "k2_path_accuracy": None,
        "k2_path_accuracy_speech": None,
        "wer": {"dev": None, "test": None, "ins": None, "del": None, "sub": None, "ci95": None, "ci95_utterance": None},
        "ser": None,
        "per": None,
        "per_ci95": None,
        "rtf": None,
    }


def check_headline_names(recipe: str, names: list[str]) -> None:
    """Raises `UserError` for a name that is not one of the recipe's fixed names (recipes without fixed names take any)."""
    known = HEADLINE_NAMES.get(recipe)
    for name in names:
        if known is not None and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                f"headline {name!r}{guess} is no fixed name of {recipe}; expected {', '.join(known)}; else use values:"
            )


@contextmanager
def of_contract(path: str | Path) -> Iterator[None]:
    """Turns what the content of a foreign file trips up into a `UserError` that names the file.

    `check_results` says what it knows to be wrong; a page reads more of a results.json than that.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise UserError(
            f"{path} is not what `asr-distill report` writes ({type(error).__name__}: {error}); run the recipe's report again"
        ) from error


def check_results(results: Any) -> None:
    """Raises `UserError` naming the place where results break the contract: a missing key, NaN, a percentage out of range."""
    if not isinstance(results, dict) or results.get("schema") != 1:
        raise UserError("results: expected an object with schema 1")
    _check_numbers(results, "results")
    _check_keys(results, empty_results(str(results.get("recipe"))), "results")
    check_headline_names(results["recipe"], list(results["headline"]))
    if results["data"]["source"] not in SOURCES:
        raise UserError(f"results: data.source is {results['data']['source']!r}; expected {', '.join(SOURCES)}")
    names = [system.get("name") for system in results["systems"]]
    for name, system in zip(names, results["systems"], strict=True):
        where = f"results: system {name}"
        if names.count(name) > 1:
            raise UserError(f"{where} occurs twice")
        _check_keys(system, empty_system(str(name)), where)
        shares = [*system["frame_accuracy"].values(), system["k2_path_accuracy"], system["ser"]]
        if any(value is not None and not 0 <= value <= 100 for value in shares):
            raise UserError(f"{where}: a frame accuracy or sentence error rate lies outside 0 to 100")
        for value, interval in ((system["wer"]["test"], system["wer"]["ci95"]), (system["per"], system["per_ci95"])):
            if (value is not None and value < 0) or (interval is not None and not 0 <= interval[0] <= interval[1]):
                raise UserError(f"{where}: an error rate is {value} with interval {interval}")


def _check_keys(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    for key, value in expected.items():
        if key not in found:
            raise UserError(f"{where}: key {key!r} is missing; unmeasured is null")
        if isinstance(value, dict) and value:
            if not isinstance(found[key], dict):
                raise UserError(f"{where}: {key} is {found[key]!r}, expected an object")
            _check_keys(found[key], value, f"{where}: {key}")


def _check_numbers(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where} is {value}; unmeasured is null, never NaN")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _check_numbers(item, f"{where}.{key}")
