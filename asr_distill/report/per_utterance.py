"""per_utterance.jsonl: one line per test utterance, system and seed; enough to recompute every figure on test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_jsonl, write_jsonl
from asr_distill.scoring import Utterance
from asr_distill.scoring.utterances import MOST, utterance_from_row

# system -> seed -> utterances
Systems = dict[str, dict[int, list[Utterance]]]

_OPTIONAL = (
    "frames_speech",
    "correct_frames_speech",
    "k2_path_correct_frames",
    "k2_path_correct_frames_speech",
    "phones",
    "phone_errors",
    "reached_final",
)


def rows(systems: Mapping[str, Mapping[int, Sequence[Utterance]]]) -> Iterator[dict[str, Any]]:
    """Lines in the order of systems, seeds and ids; keys beyond the contract's ten only where they are known."""
    for system, seeds in systems.items():
        for seed, utterances in sorted(seeds.items()):
            for utterance in sorted(utterances, key=lambda item: item.id):
                row = {
                    "id": utterance.id,
                    "speaker": utterance.speaker,
                    "split": utterance.split,
                    "system": system,
                    "seed": seed,
                    "reference": " ".join(utterance.reference),
                    "hypothesis": None if utterance.hypothesis is None else " ".join(utterance.hypothesis),
                    "frames": utterance.frames,
                    "correct_frames": utterance.correct_frames,
                }
                yield row | {key: value for key in _OPTIONAL if (value := getattr(utterance, key)) is not None}


def write_per_utterance(path: str | Path, systems: Mapping[str, Mapping[int, Sequence[Utterance]]]) -> None:
    """Writes the file, whole or not at all."""
    write_jsonl(path, rows(systems))


def read_per_utterance(path: str | Path) -> Systems:
    """Utterances by system and seed. Raises `UserError` naming a line that breaks the contract or occurs twice."""
    systems: Systems = {}
    seen: set[tuple[str, int, str]] = set()
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}, line {number}"
        seed = row.get("seed") if isinstance(row, dict) else None
        known = isinstance(seed, int) and not isinstance(seed, bool) and abs(seed) < MOST
        if not known or not isinstance(row.get("system"), str):
            raise UserError(f"{where}: expected an object with the text 'system' and the whole number 'seed'")
        utterance = utterance_from_row(row, where)
        key = (row["system"], row["seed"], utterance.id)
        if key in seen:
            raise UserError(f"{where}: {utterance.id} of system {key[0]}, seed {key[1]}, occurs twice")
        seen.add(key)
        systems.setdefault(key[0], {}).setdefault(key[1], []).append(utterance)
    if not systems:
        raise UserError(f"{path} holds no utterance")
    return systems
