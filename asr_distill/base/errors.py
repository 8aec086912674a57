"""Errors for the person who can mend them."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was given (a file, an option, a corpus), shown without a traceback and with exit status 1.

    The message says what was found, what was expected, where, and what to do next.
    """


_HINTS = {
    "k2": (
        "pip install --no-deps the wheel of k2 that was built for your torch and Python: with torch 1.13.1 on Python 3.11"
        " `bash local/setup.sh` installs it; for newer torch the k2-fsa project lists wheels (1.24.4 and later), and `bash"
        " local/setup.sh --k2-wheel FILE` makes an environment around one"
    ),
    "torchaudio": "pip install 'asr-distill[torchaudio]' (a build that matches your torch)",
}


def missing_package(name: str, purpose: str) -> UserError:
    """The error for an optional package that is not installed: names the package, its purpose and the install hint."""
    hint = _HINTS.get(name, f"pip install {name}")
    return UserError(f"{purpose} needs the package {name!r}, which is not installed. Next: {hint}")
