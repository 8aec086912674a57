"""Downloads over a local server that breaks off, lies about ranges or serves something else; archives that try to escape."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from asr_distill.base import UserError
from asr_distill.data.download import download, fetch_corpus, unpack

CONTENT = bytes(range(256)) * 4000  # about a megabyte
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(HTTPServer):
    """Serves `content`; closes the first ``breaks`` answers half-way; notes the ranges it was asked for."""

    content = CONTENT
    breaks = 0
    honours_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/corpus.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.split("=")[1].rstrip("-")) if asked and self.server.honours_ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.server.content) - 1}/{len(self.server.content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks > 0:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    instance = Server()
    thread = threading.Thread(target=instance.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield instance
    instance.shutdown()
    instance.server_close()


def test_a_broken_transfer_is_resumed_from_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    path = download(server.url, tmp_path / "corpus.tar.gz", DIGEST)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-", f"bytes={len(CONTENT) * 3 // 4}-"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_an_earlier_run_left_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.tar.gz.part").write_bytes(CONTENT[:1000])
    download(server.url, tmp_path / "corpus.tar.gz", DIGEST)
    assert server.ranges == ["bytes=1000-"]
    download(server.url, tmp_path / "corpus.tar.gz", DIGEST)
    assert len(server.ranges) == 1  # the file is there and right: nothing is asked for


def test_a_server_that_cannot_resume_starts_over(server: Server, tmp_path: Path) -> None:
    server.honours_ranges = False
    (tmp_path / "corpus.tar.gz.part").write_bytes(b"x" * 1000)
    assert download(server.url, tmp_path / "corpus.tar.gz", DIGEST).read_bytes() == CONTENT


def test_a_complete_part_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.tar.gz.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "corpus.tar.gz", DIGEST).read_bytes() == CONTENT


def test_another_digest_is_refused_with_both_shown(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(UserError, match=f"(?s){hashlib.sha256(server.content).hexdigest()}.*{DIGEST}.*--sha256"):
        download(server.url, tmp_path / "corpus.tar.gz", DIGEST)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.tar.gz.rejected"]


def test_a_file_of_another_digest_is_not_taken_for_the_archive(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.tar.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match=f"(?s){hashlib.sha256(b'something else').hexdigest()}.*{DIGEST}.*remove it"):
        download(server.url, tmp_path / "corpus.tar.gz", DIGEST)
    assert server.ranges == []


def test_no_network_says_where_to_put_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)could not be downloaded.*put it at .*corpus\.tar\.gz"):
        download("http://127.0.0.1:9/corpus.tar.gz", tmp_path / "corpus.tar.gz", DIGEST, timeout=1, attempts=1)


def archive(path: Path, *members: tuple[str, bytes | None], link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.DIRTYPE, "")
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def test_unpacks_files_and_folders(tmp_path: Path) -> None:
    unpack(archive(tmp_path / "a.tar.gz", ("an4", None), ("./an4/etc/list", b"one\n")), tmp_path / "out")
    assert (tmp_path / "out" / "an4" / "etc" / "list").read_bytes() == b"one\n"


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "an4/../../escaped", "an4/..\\escaped"])
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    bad = archive(tmp_path / "bad.tar.gz", ("an4/good", b"good"), (name, b"bad"))
    with pytest.raises(UserError, match="outside"):
        unpack(bad, tmp_path / "out" / "corpus")
    assert not any("escaped" in path.name for path in tmp_path.rglob("*"))
    assert not (tmp_path / "out" / "corpus").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="link"):
        unpack(archive(tmp_path / "bad.tar.gz", ("an4", None), link="/etc"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_archive_leaves_nothing(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.tar.gz", ("an4/noise", hashlib.sha256(b"seed").digest() * 9000))
    whole.write_bytes(whole.read_bytes()[:60])
    with pytest.raises(UserError, match="could not be unpacked"):
        unpack(whole, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_fetch_corpus_goes_from_url_to_folder(server: Server, tmp_path: Path) -> None:
    server.content = archive(tmp_path / "served.tar.gz", ("an4/etc/list", b"one\n")).read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    corpus = fetch_corpus(server.url, digest, tmp_path / "downloads", "an4", expects="etc")
    assert (corpus / "etc" / "list").is_file()
    fetch_corpus(server.url, digest, tmp_path / "downloads", "an4", expects="etc")
    assert len(server.ranges) == 1
