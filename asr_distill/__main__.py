"""``asr-distill`` and ``python -m asr_distill``: quiet where interrupted or not read, from the first import to the last flush.

Nothing is imported before the interrupt is listened to.
"""

import os
import signal
import sys


def main() -> int:
    """Runs the command line and returns its exit status; 130 where it was interrupted, 141 where nobody reads its output."""
    interrupts = Interrupts()
    try:
        from asr_distill.cli.main import main as run

        return leave(run())
    except SystemExit as leaving:
        return leave(leaving.code)
    except BrokenPipeError:
        if leave(0) == 0:  # not that of standard output
            raise
        return 141
    except BaseException as error:
        interrupts.end()
        if not (interrupts.heard or isinstance(error, KeyboardInterrupt)):  # imports make other errors of an interrupt
            raise
        if not interrupts.of_child:
            print("asr-distill: interrupted; run it again to continue", file=sys.stderr)
        return leave(130)
    finally:
        interrupts.end()


class Interrupts:
    """Listens to SIGINT as Python does, except that an interrupt that got lost in a callback is sent again."""

    def __init__(self) -> None:
        self.heard = False
        self.of_child = "ASR_DISTILL_PARENT" in os.environ  # the command that began this one says it for both
        self.listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the shell has it ignored
        if self.listens:
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._again

    def end(self) -> None:
        """From now on an interrupt just ends the process: nothing is left to do but to leave."""
        if self.listens:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _interrupt(self, number: int, frame: object) -> None:
        self.heard = True
        raise KeyboardInterrupt

    def _again(self, lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            sys.__unraisablehook__(lost)


def leave(code: object) -> int:
    """The exit status for ``code``, once standard output is flushed: 141, as for who dies of SIGPIPE, where nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        return 141
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
