"""A package of the npm registry as a tar archive, fetched by npm itself, so that its configuration says from where."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from asr_distill.base import UserError, hash_of_file

_SECONDS = 300


def fetch_npm_package(
    name: str, version: str, sha256: str, folder: str | Path, archive: Path | None = None, *, variable: str = ""
) -> Path:
    """The archive of ``name`` at ``version`` in ``folder``, by ``npm pack``; one that is there is not fetched again.

    archive: use this file instead; ``variable`` is what the user named it by. Only files are fetched: no code of the package is
    run. Raises `UserError` without npm, where npm fails, or where the SHA-256 is not ``sha256``.
    """
    folder = Path(folder)
    path = archive or folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    by_hand = f"`npm pack {name}@{version}` on a machine with a network, then set {variable} to the archive"
    if archive is None and not path.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise UserError(f"npm is not installed, and {path} is not there. Next: install npm, or {by_hand}")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".npm-") as temporary:
            command = [npm, "pack", f"{name}@{version}", "--silent", "--ignore-scripts", "--pack-destination", temporary]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                raise UserError(
                    f"{' '.join(command[:3])} gave no answer in {_SECONDS} s. Next: try again, or {by_hand}"
                ) from None
            fetched = list(Path(temporary).glob("*.tgz"))
            if done.returncode != 0 or len(fetched) != 1:
                said = done.stderr.strip().splitlines()
                raise UserError(f"npm could not fetch {name}@{version} ({said[-1] if said else 'no message'}). Next: {by_hand}")
            _check(fetched[0], sha256)
            fetched[0].replace(path)
    if not path.is_file():
        raise UserError(f"{variable} is {path}, which does not exist. Next: {by_hand}")
    _check(path, sha256)
    return path


def _check(path: Path, sha256: str) -> None:
    if (found := hash_of_file(path)) != sha256:
        raise UserError(f"{path} has SHA-256 {found}, expected {sha256}; remove it and run again, or name another archive")
