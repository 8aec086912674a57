"""``asr-distill report``: the figures of a finished run, written beside it or published beside its recipe."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_distill.report.configuration import ReportConfig

EXAMPLE = "asr-distill report --run exp/an4 --config recipes/an4/conf/recipe.report.yaml --publish recipes/an4"

_log = logging.getLogger("asr_distill")


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``report``."""
    parser.add_argument("--run", dest="run_directory", metavar="DIR", help="the run, such as exp/an4")
    parser.add_argument("--systems", metavar="FILE", help="systems.yaml: each entry that is searched is a row")
    parser.add_argument("--config", metavar="FILE", help="report.yaml: which decode directory is which row")
    parser.add_argument(
        "--publish", metavar="DIR", help="write results.json, per_utterance.jsonl, RESULTS.md here (default: --run)"
    )
    parser.add_argument("--merge", action="store_true", help="keep systems published there that this run does not have")
    parser.add_argument(
        "--merge-fewer-seeds", action="store_true", help="with --merge: let this run replace systems published with more seeds"
    )
    parser.add_argument("--allow-missing", action="store_true", help="leave out systems that are not decoded yet")
    parser.add_argument("--command", metavar="TEXT", help="the command that made the run, instead of report.yaml's")
    parser.add_argument("--html", metavar="FILE", help="also write one HTML page")
    parser.add_argument("--plots", metavar="DIR", help="also write small PNG plots (needs matplotlib); they go into --html too")
    parser.add_argument("--table", action="store_true", help="print the tables of errors and frame accuracies")
    parser.add_argument("--results", metavar="FILE", help="only show this results.json; with --out, write its RESULTS.md")
    parser.add_argument("--out", metavar="FILE", help="with --results: write RESULTS.md here")


def run(args: argparse.Namespace) -> int:
    """Builds, writes and prints a report, or shows a results.json that exists."""
    from asr_distill.base import UserError, read_json, write_text
    from asr_distill.cli.main import emit
    from asr_distill.report import (
        build_report,
        check_results,
        html_page,
        load_report_config,
        of_contract,
        publish,
        results_markdown,
        results_page,
        transcribe_command,
    )
    from asr_distill.report.publish import check_publishable

    if (args.results is None) == (args.run_directory is None) or (
        args.run_directory and (args.config is None) == (args.systems is None)
    ):
        raise UserError("give --run DIR with --systems systems.yaml or --config report.yaml, or --results results.json")
    if args.results and args.command is not None:
        raise UserError("--command is of a run; leave it out with --results, which says its own")
    figures: list[Path] = []
    transcribe = None
    if args.results:
        results = read_json(args.results)
        with of_contract(args.results):
            check_results(results)
            page, table = results_markdown(results), _for_people(results, args.html, None)
        if args.out:
            write_text(args.out, page)
        written = [args.out] if args.out else []
    else:
        if args.merge and not args.publish:
            raise UserError("--merge keeps what was published: give --publish DIR too")
        if args.merge_fewer_seeds and not args.merge:
            raise UserError("--merge-fewer-seeds says what --merge may replace: give --merge too")
        check_publishable(args.publish or args.run_directory)
        config = load_report_config(args.config) if args.config else _of_table(args)
        if args.command is not None:
            config = dataclasses.replace(config, command=args.command)
        published = args.publish if args.merge else None
        report = build_report(args.run_directory, config, args.allow_missing, published, args.merge_fewer_seeds)
        folder = args.publish or args.run_directory
        written = [str(path) for path in publish(report, args.run_directory, folder, config.pictures)]
        results = report.results
        program = sys.argv[0] if Path(sys.argv[0]).name == "asr-distill" else "asr-distill"
        transcribe = transcribe_command(args.run_directory, config, results, program)
        figures = [path for name in (*config.figures, *config.pictures) if (path := Path(args.run_directory) / name).is_file()]
    if args.plots:
        from asr_distill.report.plots import plot_systems

        plots = plot_systems(results, args.plots)
        figures = [*plots, *figures]
        written += [str(path) for path in plots]
    if args.html:
        write_text(args.html, html_page(results_page(results), figures))
        written.append(args.html)
    for path in written:
        _log.info("wrote %s", path)
    show = args.table or args.results or not args.publish
    if not args.results:
        table = _for_people(results, args.html, transcribe)
    lines = [f"wrote {path}" for path in written]
    text = table if show else "\n".join(lines)
    emit(args, results, text)
    return 0


def _of_table(args: argparse.Namespace) -> ReportConfig:
    from asr_distill.experiments.collect import report_of
    from asr_distill.experiments.reading import read_table

    return report_of(read_table(args.systems), Path(args.run_directory))


def _for_people(results: dict[str, Any], page: str | None, transcribe: str | None) -> str:
    """The tables, where the data come from, speakers that were trained on, the verdict, and where to go on."""
    from asr_distill.report import shared_speakers, systems_table, verdict

    lines = [systems_table(results), "", f"source of the data: {results['data']['source']}", shared_speakers(results["data"])]
    last = {"verdict": verdict(results), "report": page, "your own recording": transcribe}
    return "\n".join([*lines[: 4 if lines[3] else 3], *(f"{name}: {said}" for name, said in last.items() if said)])
