"""Archives from the network: resumed where a transfer broke off, checked by digest, unpacked inside their folder only."""

from __future__ import annotations

import http.client
import logging
import os
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import IO

from asr_distill.base import UserError, atomic_directory, hash_of_file

_log = logging.getLogger("asr_distill")
_BLOCK = 1 << 18


def download(url: str, path: Path, sha256: str, *, timeout: float = 30.0, attempts: int = 3) -> Path:
    """Fetches ``url`` to ``path`` and returns it; a file that is there with the right digest is left alone.

    What has arrived waits in ``path`` + ``.part`` and the next call goes on from there; ``timeout`` is in seconds per read.
    Raises `UserError` where ``path`` is another file, where the network or the server fails after ``attempts``, or where the
    SHA-256 of what came is not ``sha256``: it is then kept as ``.rejected`` for inspection and never unpacked.
    """
    if path.is_file():
        if (found := hash_of_file(path)) != sha256:
            raise UserError(
                f"{path} is there with SHA-256 {found}, expected {sha256} as of {url}."
                " Next: remove it, and it is downloaded; or, if you trust it, name its digest with --sha256"
            )
        return path
    partial = path.with_name(path.name + ".part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(attempts):
        try:
            _transfer(url, partial, timeout)
            break
        except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and broken transfers are among these
            if attempt + 1 < attempts and not isinstance(error, urllib.error.HTTPError):
                _log.info("%s: %s; trying again from %d bytes", url, error, _size(partial))
                continue
            size = _size(partial)
            kept = f"{size} bytes are kept in {partial} and a further run goes on from there" if size else "nothing arrived"
            raise UserError(
                f"{url} could not be downloaded ({error}); {kept}. Without a network: fetch it elsewhere and put it at {path},"
                " or name the unpacked corpus with --corpus-dir"
            ) from None
    found = hash_of_file(partial)
    if found != sha256:
        rejected = path.with_name(path.name + ".rejected")
        os.replace(partial, rejected)
        raise UserError(
            f"{url} has SHA-256 {found}, expected {sha256}; it was not unpacked and is kept as {rejected}."
            " Next: run again (a broken transfer); if the digest stays and you trust the source, name it with --sha256"
        )
    os.replace(partial, path)
    return path


def fetch_corpus(url: str, sha256: str, folder: Path, name: str, expects: str) -> Path:
    """Downloads and unpacks a corpus to ``folder/name`` unless it is there; returns that folder.

    The archive must hold a folder ``name`` with ``expects`` in it. Raises `UserError` like `download` and `unpack`.
    """
    corpus_dir = folder / name
    if corpus_dir.is_dir():
        return corpus_dir
    archive = download(url, folder / PurePosixPath(url).name, sha256)
    unpacked = unpack(archive, folder / f"{name}-archive")
    if not (unpacked / name / expects).exists():
        raise UserError(f"{archive}: expected {name}/{expects} inside; see {unpacked}")
    (unpacked / name).replace(corpus_dir)
    shutil.rmtree(unpacked)
    return corpus_dir


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks a tar archive (any compression tarfile knows) to ``folder``, which appears whole or not at all.

    Only plain files and folders are unpacked, with plain permissions. Raises `UserError` for a member that would land outside
    ``folder`` (absolute, ``..``), for links and devices, and for an archive that is damaged.
    """
    try:
        with tarfile.open(archive) as tar, atomic_directory(folder) as temporary:
            for member in tar:
                _unpack_member(tar, member, temporary, archive)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} could not be unpacked ({error}); remove it and run again") from None
    return folder


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _transfer(url: str, partial: Path, timeout: float) -> None:
    """Appends the missing rest of ``url`` to ``partial``; starts over where the server cannot resume."""
    have = _size(partial)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing left to send: the digest decides whether what is here is right
            return
        raise
    with response:
        resumed = response.status == 206 and _range_start(response.headers.get("Content-Range")) == have
        if have and not resumed:
            have = 0
        length = response.headers.get("Content-Length")
        expected = have + int(length) if length else None
        _log.info("downloading %s%s", url, f", resuming at {have} bytes" if have else "")
        with open(partial, "ab" if have else "wb") as stream:
            _copy(response, stream)
    if expected is not None and _size(partial) < expected:
        raise ConnectionError(f"the connection closed at {_size(partial)} of {expected} bytes")


def _range_start(content_range: str | None) -> int | None:
    """The first byte of ``bytes 100-199/200``."""
    try:
        return int((content_range or "").split()[1].split("-")[0])
    except (IndexError, ValueError):
        return None


def _copy(source: http.client.HTTPResponse, target: IO[bytes]) -> None:
    while block := source.read1(_BLOCK):
        target.write(block)


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
        raise UserError(f"{archive}: member {member.name!r} would land outside the folder; the archive is refused")
    target = folder.joinpath(*name.parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg():
        raise UserError(f"{archive}: member {member.name!r} is a link or a device; only files and folders are unpacked")
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise UserError(f"{archive}: member {member.name!r} has no content")
    with source, open(target, "xb" if not target.exists() else "wb") as stream:
        shutil.copyfileobj(source, stream)
