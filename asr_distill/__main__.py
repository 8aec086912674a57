"""``asr-distill`` and ``python -m asr_distill``: quiet where interrupted or not read, from the first import to the last flush.

Nothing of ours or of others is imported before the interrupt is listened to.
"""

import os
import select
import signal
import sys
import threading
import time
from types import FrameType

PATIENCE = 5.0  # seconds that an interrupt waits for an import


def main() -> int:
    """Runs the command line and returns its exit status; 130 where it was interrupted, 141 where nobody reads its output."""
    interrupts = Interrupts()
    try:
        from asr_distill.cli.main import main as run

        return leave(run())
    except SystemExit as leaving:
        return leave(leaving.code)
    except BrokenPipeError:
        if not unread(sys.stdout.fileno()):  # another pipe broke
            raise
        return leave(141)
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
    """Listens to SIGINT as Python does, except that one that comes amid an import waits for its end.

    An import that is broken off leaves libraries half made, which crash when the process ends. An interrupt that got lost in a
    callback of theirs is sent again.
    """

    def __init__(self) -> None:
        self.heard = False
        self.of_child = "ASR_DISTILL_PARENT" in os.environ  # the command that began this one says it for both
        self.listens = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the shell has it ignored
        self._waits_until: float | None = None
        if self.listens:
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._again

    def end(self) -> None:
        """From now on an interrupt ends the process at once: nothing is left to do but to leave."""
        if self.listens:
            signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.heard = True
        now = time.monotonic()
        self._waits_until = self._waits_until or now + PATIENCE
        if now < self._waits_until and amid_import(frame):
            threading.Timer(0.005, os.kill, (os.getpid(), number)).start()
            return
        self._waits_until = None
        raise KeyboardInterrupt

    def _again(self, lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            sys.__unraisablehook__(lost)


def amid_import(frame: FrameType | None) -> bool:
    """Whether what runs there was begun by an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def unread(descriptor: int) -> bool:
    """Whether it is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def leave(code: object) -> int:
    """The exit status for ``code``, once standard output is flushed: 141, as for who dies of SIGPIPE, where nobody reads it."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        code = 141
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
