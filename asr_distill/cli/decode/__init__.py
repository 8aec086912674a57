"""``asr-distill decode``: a model, a graph and a CutSet or audio files in; a decode directory out."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_distill.cli.decode.models import ScoringModel
    from asr_distill.decoding.evaluation import DecodedUtterance, Setting
    from asr_distill.graph import Graph

EXAMPLE = (
    "asr-distill decode --graph graph/bigram --model models/baseline/seed0 --cuts labels/cuts_dev.jsonl.gz"
    " --scale-grid 0.05,0.07,0.1,0.14 --system baseline --output decode/baseline/dev\n"
    "         asr-distill decode --graph graph/bigram --model models/baseline/seed0 --cuts labels/cuts_test.jsonl.gz"
    " --scales-from decode/baseline/dev/tuned.json --system baseline --output decode/baseline/test\n"
    "         asr-distill decode --graph graph/bigram --model models/distilled/seed0 --audio one.wav two.flac"
    " --output decode/new"
)
TUNED = "tuned.json"
_K2_MIN_ACTIVE = 30  # K2Decoder's own, or fewer where --max-active is as small


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    add = parser.add_argument
    add("--graph", type=Path, nargs="+", metavar="DIR", help="graph folder; several with --scale-grid: the best is kept")
    add("--model", type=Path, required=True, metavar="DIR", help="model bundle, ensemble, or the folder of a GMM")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--cuts", type=Path, metavar="CUTS", help="lhotse CutSet; with senone labels, frames are scored too")
    given.add_argument(
        "--audio",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="audio files of any rate instead, one utterance each, named by the file; nothing is scored; one that is unreadable"
        " does not keep the others from being searched, but the exit status is 1",
    )
    add("--channel", type=int, metavar="N", help="of --audio files with several")
    add("--output", type=Path, required=True, metavar="DIR", help="decode directory to write, decode/SYSTEM/SPLIT")
    add("--system", metavar="NAME", help="name of the system in reports (default, of --audio only: the model)")
    add("--split", metavar="NAME", help="name of the split (default: last part of --output)")
    add("--engine", choices=("k2", "kaldi", "auto"), default="auto", help="search engine; auto is k2 where it is installed")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--acoustic-scale", type=float, help="default: the one in the model bundle, else 0.1")
    scale.add_argument("--scale-grid", metavar="SCALES", help="comma-separated; the best by WER (use dev) goes to tuned.json")
    scale.add_argument(
        "--scales-from", type=Path, metavar="JSON", help="a tuned.json: its acoustic scale, its graph by default"
    )
    add("--beam", type=float, help="search beam (default: k2 20, kaldi 16)")
    add("--lattice-beam", type=float, default=8.0, help="lattice beam (default: %(default)s)")
    add(
        "--max-active",
        type=int,
        help="states per frame (default: k2 10000, kaldi 7000); refused where kaldi searches for --nbest above 1",
    )
    add(
        "--nbest",
        type=int,
        default=1,
        metavar="N",
        help="also write the N best word sequences; kaldi then keeps to the beams alone, for its lattices know no --max-active",
    )
    add("--lang", type=Path, metavar="DIR", help="lang directory: word times in hyp.ctm by forced alignment of the hypothesis")
    add(
        "--alignments",
        type=Path,
        metavar="JSONL",
        help="reference phones for a phone loop graph: alignments.jsonl.gz of the split",
    )
    add(
        "--max-bad-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of utterances (0 to 1) to leave out where audio or labels cannot be used; they are reported by id",
    )
    add("--device", default="cpu", help="for the network and k2 (default: %(default)s)")
    add("--autocast", choices=("off", "bf16", "auto"), default="off", help="precision of the network (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    import time

    from asr_distill.base import UserError, check_replaceable, read_json, write_json
    from asr_distill.cli.decode.inputs import check_input_options, phone_references, read_cuts, scored_utterances
    from asr_distill.cli.decode.models import open_model
    from asr_distill.cli.decode.summary import as_text, error_rate, join_subwords, not_final, spoken_line, without_words
    from asr_distill.cli.main import emit
    from asr_distill.decoding.evaluation import Setting, decode_utterances
    from asr_distill.decoding.outputs import DECODE_FILE
    from asr_distill.decoding.tuning import best_setting

    began = time.perf_counter()
    check_replaceable(args.output, kind=DECODE_FILE)
    check_input_options(args)
    tuned = read_json(args.scales_from) if args.scales_from else {}
    graphs = _graphs(args, tuned)
    model = open_model(args.model, args.device, args.autocast)
    for graph in graphs:
        graph.check(model.inventory.num_senones, model.inventory.hash, str(args.model))
    scales = _scales(args, tuned, model.acoustic_scale)
    engine = _engine(args.engine)
    settings = [Setting(decoder, scale) for decoder in (_decoder(engine, g, args) for g in graphs) for scale in scales]
    origin = [(graph, scale) for graph in graphs for scale in scales]

    cuts, left_out = read_cuts(args, model)
    phones = graphs[0].units == "phones"
    references = phone_references(graphs[0], args.alignments) if phones and args.alignments else None
    stopwatch = {"features": 0.0, "network": 0.0, "duration": 0.0}
    decoded: list[list[DecodedUtterance]] = [[] for _ in settings]
    search = [0.0] * len(settings)
    utterances = scored_utterances(model, cuts, phones, references, stopwatch, left_out)
    for index, seconds, batch in decode_utterances(utterances, settings, model.inventory.silence_senones):
        subwords = origin[index][0].info.get("kind") == "subwords"
        decoded[index] += [join_subwords(utterance) for utterance in batch] if subwords else batch
        search[index] += seconds
    if not decoded[0]:
        raise UserError("; ".join(left_out.reasons.values()) or f"{args.cuts} has no utterance that can be decoded")
    left_out.reasons = {key: left_out.reasons[key] for key in sorted(left_out.reasons, key=_place(args.audio))}
    signs = model.signs()
    decoded = [[without_words(row) if row.id in signs["silent"] else row for row in rows] for rows in decoded]

    rates = [error_rate(rows) for rows in decoded]
    words = sum(len(utterance.reference or ()) for utterance in decoded[0])
    best = best_setting([rate or 0.0 for rate in rates], [len(not_final(rows)) for rows in decoded], len(scales), words)
    order = {cut.id: position for position, cut in enumerate(cuts)}
    rows = sorted(decoded[best], key=lambda utterance: order[utterance.id])
    rtf = {key: stopwatch[key] / stopwatch["duration"] for key in ("features", "network")}
    rtf["search"] = search[best] / stopwatch["duration"]
    notes = {**signs, "left_out": left_out.reasons}
    summary = _write(args, model, cuts, rows, origin[best], settings[best], engine, rates[best], rtf, notes)
    if args.scale_grid:
        grid = [
            {"graph": str(g.path), "acoustic_scale": scale, "error_rate": rates[i], "not_final": len(not_final(decoded[i]))}
            for i, (g, scale) in enumerate(origin)
        ]
        chosen = {"cuts": str(args.cuts), "engine": engine, **grid[best], "grid": grid}
        write_json(args.output / TUNED, chosen, listed=True)
        summary["grid"] = grid
    text = as_text(summary, args.output, time.perf_counter() - began)
    if args.audio:
        files = {cut.id: str(cut.recording.sources[0].source) for cut in cuts}
        summary["hypotheses"] = [
            {"id": row.id, "audio": files[row.id], "hypothesis": " ".join(row.result.words)} for row in rows
        ]
        summary["failed"] = left_out.reasons
        text = "\n".join([*(spoken_line(row, row.id in signs["silent"]) for row in rows), text])
    emit(args, summary, text)
    left_out.judge()
    return 0


def _place(files: Sequence[Path] | None) -> Callable[[str], int]:
    """The order in which files were given; none for cuts."""
    places = {str(path): place for place, path in enumerate(files or ())}
    return lambda key: places.get(key, 0)


def _write(
    args: argparse.Namespace,
    model: ScoringModel,
    cuts: Sequence[Any],
    rows: list[DecodedUtterance],
    origin: tuple[Graph, float],
    setting: Setting,
    engine: str,
    rate: float | None,
    rtf: dict[str, float],
    notes: dict[str, Any],
) -> dict[str, Any]:
    """Writes the decode directory and returns what its decode.json says."""
    from asr_distill.cli.decode.models import ensemble_facts
    from asr_distill.cli.decode.summary import frame_accuracies, not_final, phone_counts
    from asr_distill.decoding.outputs import write_decode_directory

    graph, scale = origin
    times = None
    if args.lang and graph.units == "words":
        from asr_distill.cli.decode.times import aligned_word_times

        times = aligned_word_times(rows, cuts, model, graph, args.lang, scale)
    lost = not_final(rows)
    summary: dict[str, Any] = {
        "system": args.system or str(args.model),
        "split": args.split or args.output.name,
        "model": str(args.model),
        **ensemble_facts(args.model),
        "seed": model.seed,
        "graph": str(graph.path),
        "g": graph.info.get("g"),
        "units": graph.units,
        "senones_hash": graph.senones_hash,
        "engine": engine,
        "acoustic_scale": scale,
        "lm_scale": graph.info.get("lm_scale"),
        "word_penalty": graph.info.get("word_penalty"),
        **setting.decoder.options,
        "utterances": len(rows),
        "not_final": len(lost),
        "not_final_ids": lost,
        **notes,
        "error_rate": rate,
        "frame_accuracy": frame_accuracies(rows),
        "word_times": "frame of the best path whose arc wrote the word" if times is None else "forced alignment",
        "word_times_aligned": len(times or {}),
        "seconds_of_speech": round(sum(row.duration for row in rows), 3),
        "rtf": rtf,
    }
    extra = {row.id: phone_counts(row) for row in rows if row.reference is not None} if graph.units == "phones" else None
    write_decode_directory(args.output, rows, summary["split"], summary, word_times=times, extra=extra)
    return summary


def _graphs(args: argparse.Namespace, tuned: dict[str, Any]) -> list[Graph]:
    from asr_distill.base import UserError
    from asr_distill.graph import load_graph

    paths = args.graph or ([Path(tuned["graph"])] if "graph" in tuned else [])
    if not paths:
        raise UserError("no graph was given; next: --graph DIR")
    if len(paths) > 1 and not args.scale_grid:
        raise UserError(f"{len(paths)} graphs were given; several are for --scale-grid, which chooses one of them")
    graphs = [load_graph(path) for path in paths]
    if len({graph.units for graph in graphs}) > 1:
        raise UserError("word graphs and phone loops cannot be compared with each other; decode them one by one")
    if graphs[0].units == "phones" and not args.alignments and not args.audio:
        raise UserError("a phone loop needs reference phones; next: --alignments labels/alignments_SPLIT.jsonl.gz")
    return graphs


def _scales(args: argparse.Namespace, tuned: dict[str, Any], of_bundle: float | None) -> list[float]:
    from asr_distill.base import UserError

    if args.scales_from:
        if "acoustic_scale" not in tuned:
            raise UserError(f"{args.scales_from} has no acoustic_scale; write it with --scale-grid on dev")
        return [float(tuned["acoustic_scale"])]
    if args.scale_grid:
        try:
            scales = [float(word) for word in args.scale_grid.split(",")]
        except ValueError:
            raise UserError(f"--scale-grid {args.scale_grid!r}: expected numbers between commas, such as 0.07,0.1") from None
    else:
        scales = [args.acoustic_scale if args.acoustic_scale is not None else of_bundle or 0.1]
    if any(not 0 < scale < math.inf for scale in scales):
        raise UserError(f"acoustic scales must be above 0 and finite, found {scales}")
    return scales


def _engine(wanted: str) -> str:
    import importlib.util

    if wanted != "auto":
        return wanted
    return "k2" if importlib.util.find_spec("k2") else "kaldi"


def _decoder(engine: str, graph: Graph, args: argparse.Namespace) -> Any:
    from asr_distill.base import UserError
    from asr_distill.decoding import K2Decoder, KaldiDecoder

    given = {key: value for key, value in (("beam", args.beam), ("max_active", args.max_active)) if value is not None}
    if engine == "kaldi":
        if args.nbest > 1 and args.max_active is not None:
            raise UserError(
                "--max-active: kaldi's search for --nbest above 1 knows no such bound. Next: leave it out and choose --beam, or"
                " --engine k2"
            )
        return KaldiDecoder(graph, lattice_beam=args.lattice_beam, nbest=args.nbest, **given)
    if "max_active" in given:
        given["min_active"] = min(_K2_MIN_ACTIVE, max(0, args.max_active - 1))
    if "beam" in given:
        given["search_beam"] = given.pop("beam")
    return K2Decoder(graph, output_beam=args.lattice_beam, device=args.device, nbest=args.nbest, **given)
