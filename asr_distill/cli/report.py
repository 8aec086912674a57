"""``asr-distill report``: the figures of a finished run, written beside it or published beside its recipe."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

EXAMPLE = "asr-distill report --run exp/an4 --config recipes/an4/conf/recipe.report.yaml --publish recipes/an4"

_log = logging.getLogger("asr_distill")


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``report``."""
    parser.add_argument("--run", dest="run_directory", metavar="DIR", help="the run, such as exp/an4")
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
        publish,
        results_markdown,
        results_page,
        systems_table,
    )
    from asr_distill.report.publish import check_publishable

    if (args.results is None) == (args.run_directory is None) or (args.run_directory and not args.config):
        raise UserError("give --run DIR --config report.yaml, or --results results.json")
    if args.results and args.command is not None:
        raise UserError("--command is of a run; leave it out with --results, which says its own")
    figures: list[Path] = []
    if args.results:
        results = read_json(args.results)
        check_results(results)
        if args.out:
            write_text(args.out, results_markdown(results))
        written = [args.out] if args.out else []
    else:
        if args.merge and not args.publish:
            raise UserError("--merge keeps what was published: give --publish DIR too")
        if args.merge_fewer_seeds and not args.merge:
            raise UserError("--merge-fewer-seeds says what --merge may replace: give --merge too")
        check_publishable(args.publish or args.run_directory)
        config = load_report_config(args.config)
        if args.command is not None:
            config = dataclasses.replace(config, command=args.command)
        published = args.publish if args.merge else None
        report = build_report(args.run_directory, config, args.allow_missing, published, args.merge_fewer_seeds)
        folder = args.publish or args.run_directory
        written = [str(path) for path in publish(report, args.run_directory, folder, config.pictures)]
        results = report.results
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
    source = f"source of the data: {results['data']['source']}"
    text = f"{systems_table(results)}\n\n{source}" if show else "\n".join(f"wrote {path}" for path in written)
    emit(args, results, text)
    return 0
