"""Report: the figures of a finished run as results.json, per_utterance.jsonl, RESULTS.md, one HTML page and plots.

A run's directory and a report.yaml come in, which says which decode directory is which row; the files that are published
beside a recipe go out. Open ``configuration.py`` first, then ``build.py``; ``templates.py`` keeps the rows of a report.yaml
short, ``page.py`` says what is shown.
"""

from asr_distill.report.build import build_report
from asr_distill.report.configuration import ReportConfig, SystemConfig
from asr_distill.report.html import html_page
from asr_distill.report.markdown import markdown_page, results_markdown
from asr_distill.report.merge import merge_published
from asr_distill.report.page import results_page, shared_speakers, systems_table
from asr_distill.report.per_utterance import read_per_utterance, write_per_utterance
from asr_distill.report.publish import publish
from asr_distill.report.recompute import WRONG_IMAGES_ONLY, recompute
from asr_distill.report.results import HEADLINE_NAMES, Report, check_results, empty_results, empty_system, of_contract
from asr_distill.report.templates import load_report_config
from asr_distill.report.verdict import transcribe_command, verdict

__all__ = [
    "HEADLINE_NAMES",
    "WRONG_IMAGES_ONLY",
    "Report",
    "ReportConfig",
    "SystemConfig",
    "build_report",
    "check_results",
    "empty_results",
    "empty_system",
    "html_page",
    "load_report_config",
    "markdown_page",
    "merge_published",
    "of_contract",
    "publish",
    "read_per_utterance",
    "recompute",
    "results_markdown",
    "results_page",
    "shared_speakers",
    "systems_table",
    "transcribe_command",
    "verdict",
    "write_per_utterance",
]
