"""``asr-distill compare``: is system A better than system B on the same utterances, and how sure is that?"""

from __future__ import annotations

import argparse
import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_distill.scoring import Utterance

EXAMPLE = "asr-distill compare 'exp/an4/decode/distilled/seed*/test' 'exp/an4/decode/baseline/seed*/test' --unit speaker"


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``compare``."""
    how = "a decode directory; a quoted pattern or a list with commas for several seeds; or per_utterance.jsonl:SYSTEM"
    parser.add_argument("a", metavar="A", help=how)
    parser.add_argument("b", metavar="B", help="likewise")
    parser.add_argument("--metric", default="wer", help="wer (default), ser, per, frame_accuracy, frame_accuracy_speech, ...")
    parser.add_argument("--unit", choices=["speaker", "utterance"], help="what is resampled (default: speaker where known)")
    parser.add_argument("--samples", type=int, default=10_000, help="bootstrap samples (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default %(default)s)")
    parser.add_argument(
        "--allow-different-senones", action="store_true", help="compare frame accuracies over different senone inventories"
    )


def run(args: argparse.Namespace) -> int:
    """Prints difference, interval and probability of improvement."""
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.scoring import METRICS, metric_counts, paired_comparison

    if args.metric not in METRICS:
        raise UserError(f"--metric {args.metric}: expected one of {', '.join(METRICS)}")
    if args.samples < 1:
        raise UserError(f"--samples {args.samples}; expected at least 1")
    metric = METRICS[args.metric]
    a, b = _Side(args.a), _Side(args.b)
    if metric.on_frames and not args.allow_different_senones:
        _check_senones(a, b)
    counts = []
    for side in (a, b):
        # A phone-loop decode holds phones as its words.
        name = "wer" if args.metric == "per" and not side.published else args.metric
        found = metric_counts(name, side.seeds, side.name)
        if not found.units:
            raise UserError(
                f"{side.name} holds no counts for the {metric.title}; decode with labels, or choose another --metric"
            )
        counts.append(found)
    if counts[0].metric != counts[1].metric:
        raise UserError("--metric per: give two phone-loop decode directories, or two systems of published figures")
    unit = args.unit or ("speaker" if None not in counts[0].speakers and len(set(counts[0].speakers)) > 1 else "utterance")
    result = paired_comparison(counts[0], counts[1], unit, args.samples, args.seed, (a.name, b.name))
    answer: dict[str, Any] = {**result.to_dict(), "metric": args.metric, "a_value": result.a, "b_value": result.b}
    answer |= {"a": args.a, "b": args.b, "samples": args.samples, "seed": args.seed}
    answer["same_vocabulary"] = len(a.vocabularies | b.vocabularies) < 2 if a.vocabularies and b.vocabularies else None
    text = _text(answer, metric.title, metric.higher_is_better)
    if answer["same_vocabulary"] is False and not metric.on_frames:
        sizes = [" and ".join(map(str, sorted(side.vocabularies.values()))) for side in (a, b)]
        text += f"\nA and B recognise different words ({sizes[0]} and {sizes[1]} of them), which is part of the difference"
    emit(args, answer, text)
    return 0


def _text(answer: dict[str, Any], title: str, higher_is_better: bool) -> str:
    from asr_distill.scoring import named_unit

    lines = []
    for side in ("a", "b"):
        value = answer[f"{side}_value"]
        seeds = answer[f"seeds_{side}"]
        shown = "-" if value is None else f"{value:.2f}"
        lines.append(f"{side.upper()}  {shown} %  {answer[side]}{f' (mean of {seeds} seeds)' if seeds > 1 else ''}")
    if answer["difference"] is None:
        lines.append(f"{title}: nothing to compare, there is nothing to divide by")
    elif answer["ci95"] is None:
        lines.append(
            f"{title}, A - B: {answer['difference']:+.2f} points; {answer['units']} utterances are too few for an interval"
        )
    else:
        low, high = answer["ci95"]
        better = "higher is better" if higher_is_better else "lower is better"
        lines.append(f"{title}, A - B: {answer['difference']:+.2f} points, 95 % [{low:+.2f}, {high:+.2f}] ({better})")
        lines.append(
            f"probability that A is better: {answer['p_improvement']:.3f}"
            f" ({answer['samples']} bootstrap samples over {answer['units']} {named_unit(answer['unit'])}"
            + (", seeds drawn too)" if answer["seeds_a"] + answer["seeds_b"] > 2 else ")")
        )
    return "\n".join(lines)


class _Side:
    """One side of the comparison: its name, its seeds' utterances, and the senone hashes it was decoded with."""

    def __init__(self, given: str) -> None:
        from asr_distill.base import UserError, has_file, read_json
        from asr_distill.scoring import read_hypotheses

        self.name, self.published, self.hashes = given, False, set[str]()
        self.vocabularies: dict[str, int] = {}  # how many words can be recognised, by the hash of their table
        file, _, system = given.rpartition(":")
        self.seeds: Sequence[Sequence[Utterance]]
        if file.endswith(".jsonl") and not Path(given).exists():
            from asr_distill.report import read_per_utterance

            systems = read_per_utterance(file)
            if system not in systems:
                raise UserError(f"{file} holds no system {system!r}; expected one of {', '.join(systems)}")
            self.name, self.published, self.seeds = system, True, list(systems[system].values())
            return
        folders = [
            Path(name)
            for part in given.split(",")
            for name in (sorted(glob.glob(part)) if glob.has_magic(part) and not Path(part).exists() else [part])
        ]
        if not folders:
            raise UserError(f"no decode directory matches {given!r}")
        self.seeds = [read_hypotheses(folder) for folder in folders]
        for folder in folders:
            if has_file(folder / "decode.json"):
                summary = read_json(folder / "decode.json")
                senones = summary.get("senones_hash") if isinstance(summary, dict) else summary
                if senones is not None and not isinstance(senones, str):
                    raise UserError(f"{folder / 'decode.json'}: senones_hash is {senones!r}, expected text; decode again")
                self.hashes |= {senones} if senones else set()
                words = summary.get("words_hash") if isinstance(summary, dict) else None
                if isinstance(words, str):
                    self.vocabularies[words] = summary.get("num_words")


def _check_senones(a: _Side, b: _Side) -> None:
    from asr_distill.base import UserError

    if len(a.hashes | b.hashes) > 1:
        raise UserError(
            f"{a.name} has senones {', '.join(sorted(a.hashes))}; {b.name} has senones {', '.join(sorted(b.hashes))}: their"
            " frame accuracies answer different questions. Compare --metric wer or per, or add --allow-different-senones"
        )
