#!/usr/bin/env python3
"""Check a wheel of k2 before the set-up installs it, and print the version of torch that it was built for.

python local/k2_wheel.py k2-1.24.4.dev20250715+cpu.torch2.7.1-cp311-cp311-manylinux2014_x86_64.whl
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

WHERE = "the k2-fsa project's own page lists wheels for newer torch (installation, pre-compiled wheels)"


def torch_version(path: Path, python: tuple[int, int]) -> str:
    """The torch version of the k2 wheel at ``path``, "" where it does not say.

    Raises:
        ValueError: the file is no wheel of k2 for this ``python``; the message is for the user.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}; {WHERE}")
    tags = path.name.removesuffix(".whl").split("-")
    if path.suffix != ".whl" or len(tags) not in (5, 6):
        raise ValueError(f"{path.name} is not named like a wheel, k2-VERSION-PYTHON-ABI-PLATFORM.whl; {WHERE}")
    try:
        with zipfile.ZipFile(path) as wheel:
            name = next((name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")), None)
            metadata = wheel.read(name).decode("utf-8", "replace") if name else ""
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path} cannot be read as a wheel ({error}): downloaded in full? {WHERE}") from None
    if not re.search(r"^Name: *k2 *$", metadata, re.MULTILINE):
        raise ValueError(f"{path} is not a wheel of k2: its METADATA does not say `Name: k2`; {WHERE}")
    version = "{}.{}".format(*python)
    if re.sub(r"\D", "", tags[-3]) not in ("3", version.replace(".", "")):  # cp311, py311, py3.11
        raise ValueError(f"{path.name} is for {tags[-3]}, the interpreter is Python {version}; --python names another")
    found = re.search(r"torch(\d+(?:\.\d+)+)", tags[1]) or re.search(r"(?m)^Requires-Dist: *torch *\(?==([\d.]+)", metadata)
    return found.group(1) if found else ""


if __name__ == "__main__":
    try:
        print(torch_version(Path(sys.argv[1]), sys.version_info[:2]))
    except ValueError as error:
        sys.exit(f"k2 wheel: {error}")
