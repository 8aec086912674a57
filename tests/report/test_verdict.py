"""The last lines of a run, on made-up results: the verdict, the page, and a command that takes the reader's own recording."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from made_up_run import build, configuration, make_run

from asr_distill.base import load_config, read_json, write_json
from asr_distill.cli.main import build_parser, main
from asr_distill.report import ReportConfig, transcribe_command, verdict

WER = {"a": "distilled", "b": "baseline", "metric": "wer", "difference": -1.5, "ci95": [-2.25, -0.5]}
GAIN = {"baseline": "baseline", "ensemble": "ensemble", "distilled": "distilled", "metric": "frame_accuracy", "counts": True}
GAIN |= {"share": 0.626, "ci95": [0.41, 0.854]}


def results(**changes: Any) -> dict[str, Any]:
    systems = [
        {"name": name, "label": label, "wer": {"test": wer, "ci95": [wer - 2, wer + 2]}}
        for name, label, wer in (("baseline", "one", 16.0), ("ensemble", "all", 14.0), ("distilled", "student", 14.5))
    ]
    return {"systems": systems, "comparisons": [WER], "gain_transferred": GAIN, **changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            "the student keeps 63 % [41, 85] of the ensemble's gain in frame accuracy;"
            " WER 16.00 -> 14.50 % (-1.50 [-2.25, -0.50])",
        ),
        (
            {"comparisons": [{**WER, "ci95": [-2.25, 0.5]}]},
            "the student keeps 63 % [41, 85] of the ensemble's gain in frame accuracy;"
            " WER 16.00 -> 14.50 % (-1.50 [-2.25, 0.50]: no change that excludes zero)",
        ),
        (
            {"gain_transferred": {**GAIN, "counts": False, "share": None}, "comparisons": []},
            "the ensemble's gain in frame accuracy does not exclude zero, so that no share of it is told; WER 16.00 -> 14.50 %",
        ),
        (
            {"gain_transferred": {**GAIN, "ci95": None}, "comparisons": [{**WER, "ci95": [None, None]}]},
            "the student keeps 63 % of the ensemble's gain in frame accuracy; WER 16.00 -> 14.50 % (-1.50)",
        ),
        (
            {"gain_transferred": {**GAIN, "share": -0.141, "ci95": [-0.66, 0.19]}, "comparisons": []},
            "the student keeps nothing (-14 % [-66, 19]) of the ensemble's gain in frame accuracy; WER 16.00 -> 14.50 %",
        ),
        ({"gain_transferred": None}, "student: WER 14.50 % [12.50, 16.50]"),
        ({"gain_transferred": None, "systems": [{"name": "x", "label": "", "wer": {"test": None, "ci95": None}}]}, None),
    ],
)
def test_one_line(changes: dict[str, Any], said: str | None) -> None:
    assert verdict(results(**changes)) == said


def test_of_a_made_up_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "my run")
    words = [
        "report",
        "--run",
        str(run),
        "--config",
        str(configuration(tmp_path)),
        "--table",
        "--html",
        str(run / "report.html"),
    ]
    assert main(words) == 0
    *_, judged, page = capsys.readouterr().out.splitlines()  # made-up decodes do not say their models
    assert judged == f"verdict: {verdict(read_json(run / 'results.json'))}"
    assert page == f"report: {run / 'report.html'}"
    for name in ("baseline/seed0", "distilled"):
        path = run / "decode" / name / "test" / "decode.json"
        write_json(path, {**read_json(path), "model": f"my models/{name}", "graph": "graph/bigram"})
    assert main(words) == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("your own recording: ")
    program, *given = shlex.split(command)
    assert program == "asr-distill"
    args = build_parser("decode").parse_args(given)
    assert (args.audio, args.model, args.graph) == (
        [Path("your.wav")],
        Path("my models/baseline/seed0"),
        [Path("graph/bigram")],
    )


def test_the_student_goes_before_the_others(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    config = load_config(ReportConfig, configuration(tmp_path))
    systems = [*config.systems[:2], type(config.systems[2])("distilled", "decode/distilled/test", model="models/distilled")]
    path = run / "decode" / "distilled" / "test" / "decode.json"
    write_json(path, {"model": "models/distilled/seed0", "graph": "g"})
    assert transcribe_command(run, config, build(run), "asr-distill") is None  # it says no model of it: it may be a GMM
    assert transcribe_command(run / "elsewhere", config, build(run), "x") is None
    chosen = ReportConfig(recipe="an4", systems=tuple(systems))
    assert "--model models/distilled/seed0 --graph g" in str(transcribe_command(run, chosen, build(run), "asr-distill"))
