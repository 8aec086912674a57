"""An interrupt at any moment and a pipe that nobody reads end a command quietly."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

import asr_distill.__main__ as entry
from asr_distill.cli import main as cli


def hear_interrupts() -> None:
    """Background jobs of a shell ignore SIGINT, and so would what tests start there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("delay", [0.06, 0.1, 0.2, 0.35, 0.5, 0.8, 1.1])
def test_an_interrupt_is_quiet_from_the_start(delay: float) -> None:
    """`doctor` imports everything that there is."""
    command = [
        sys.executable,
        "-c",
        "import time; print(flush=True); from asr_distill.__main__ import main; exit(main())",
        "doctor",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # Python itself has begun
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT, 0)
    assert len(told.splitlines()) <= 1
    assert "Traceback" not in told
    assert process.returncode == 0 or not told or "interrupted" in told


@pytest.mark.parametrize("error", [KeyboardInterrupt, ImportError("initialization failed"), SystemError("null")])
def test_what_an_import_makes_of_it(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None
        return 0

    monkeypatch.setattr(cli, "main", run)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert entry.main() == 130
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = sys.__unraisablehook__
    assert capsys.readouterr().err.count("\n") == 1


def test_other_errors_are_not_taken_for_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> int:
        raise ImportError("no such thing")

    monkeypatch.setattr(cli, "main", run)
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(ImportError):
            entry.main()
    finally:
        signal.signal(signal.SIGINT, before)
        sys.unraisablehook = sys.__unraisablehook__


@pytest.mark.parametrize("words", ["--help", "decode --help", "doctor", "lang build --help"])
def test_a_pipe_that_nobody_reads_is_quiet(words: str) -> None:
    command = f'"$0" -u -m asr_distill {words} | head -1; exit "${{PIPESTATUS[0]}}"'
    for unbuffered in ("-u ", ""):
        done = subprocess.run(
            ["bash", "-c", command.replace("-u ", unbuffered), sys.executable], capture_output=True, text=True, timeout=120
        )
        assert done.stderr == ""
        assert done.returncode in (0, 1, 141)  # 1: doctor on a machine where something is missing
        assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "words", ["--help", "--version", "score --help", "decode --help", "train --help", "bench search --help"]
)
def test_help_imports_nothing_heavy(words: str) -> None:
    code = (
        "import sys\nfrom asr_distill.__main__ import main\nmain()\n"
        "print(*sorted({'torch', 'lhotse', 'k2', 'scipy', 'tqdm'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert done.stdout
