"""speechocean762: read English by Mandarin speakers, half of them children, in a Kaldi data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from asr_distill.base import UserError
from asr_distill.data.corpora import AudioOptions, Utterance, check_counts, write_manifests
from asr_distill.data.download import fetch_corpus
from asr_distill.data.kaldi_directory import read_kaldi_directory
from asr_distill.data.speaker_choice import RULE, choose_speakers
from asr_distill.lang import Lexicon

URL = "https://www.openslr.org/resources/101/speechocean762.tar.gz"
# The corpus has nobody between 15 and 19 years: any limit there gives the same two groups.
CHILD_AGE = 15
DEV_SPEAKERS, TEST_SPEAKERS = 10, 30
EXPECTED = {"utterances": 2500, "speakers": 125}
Split = Literal["speakers", "official"]


def prepare_speechocean762(
    corpus_dir: Path,
    output: Path,
    *,
    split: Split = "speakers",
    allow_partial: bool = False,
    options: AudioOptions | None = None,
) -> dict[str, Any]:
    """Writes manifests and lexicon.txt; returns corpus.json's content.

    ``speakers``: the 125 speakers of the training half into train 85, dev 10, test 30. ``official``: the corpus's own test half
    for test, train 115, dev 10. Raises `UserError` where the test half is asked for and missing, or counts differ.
    """
    if split == "official" and not (corpus_dir / "test" / "wav.scp").is_file():
        raise UserError(
            f"--split official needs the corpus's own test half, and {corpus_dir / 'test' / 'wav.scp'} does not exist."
            f" Next: get the whole corpus ({URL}), or use --split speakers, which needs the training half only"
        )
    halves = {"train": read_kaldi_directory(corpus_dir / "train", [corpus_dir])}
    if split == "official":
        halves["test"] = read_kaldi_directory(corpus_dir / "test", [corpus_dir])
    for half, rows in halves.items():
        found = {"utterances": len(rows), "speakers": len({row.speaker for row in rows})}
        check_counts(f"the {half} half of speechocean762 in {corpus_dir}", EXPECTED, found, allow_partial)
    rows = halves["train"]
    groups = {row.speaker: _group(row) for row in rows}
    scale = min(1.0, len(groups) / EXPECTED["speakers"])  # a partial corpus is split in the same proportions
    sizes = {"dev": max(1, round(DEV_SPEAKERS * scale))}
    if split == "speakers":
        sizes["test"] = max(1, round(TEST_SPEAKERS * scale))
    chosen = choose_speakers(groups, sizes, rest="train")
    parts = {part: [row for row in rows if row.speaker in set(chosen[part])] for part in ("train", "dev", *list(sizes)[1:])}
    if split == "official":
        parts["test"] = halves["test"]
    everyone = groups | {row.speaker: _group(row) for row in halves.get("test", [])}
    corpus = {
        "name": "speechocean762",
        "source": "real",
        "split": {
            "kind": split,
            "rule": ("test: the corpus's own test half; " if split == "official" else "")
            + RULE.format(groups=f"age (child: up to {CHILD_AGE} years) and gender"),
            "dev_speakers": chosen["dev"],
            "test_speakers": sorted({row.speaker for row in parts["test"]}),
            "children": {
                part: sum(everyone[speaker][0] == "child" for speaker in {row.speaker for row in utterances})
                for part, utterances in parts.items()
            },
        },
        "complete": not allow_partial,
    }
    entries = Lexicon.read(corpus_dir / "resource" / "lexicon.txt", format="plain").entries
    texts = {"lexicon.txt": "".join(f"{entry.word} {' '.join(entry.phones)}\n" for entry in entries)}
    return write_manifests(output, parts, corpus, options=options, texts=texts)


def fetch_speechocean762(folder: Path, sha256: str | None) -> Path:
    """Downloads and unpacks the corpus to ``folder/speechocean762`` unless it is there; returns that folder.

    The archive's publisher gives no digest, so the caller has to: without ``sha256`` nothing is downloaded.
    """
    if sha256 is None:
        corpus_dir = folder / "speechocean762"
        if corpus_dir.is_dir():
            return corpus_dir
        raise UserError(
            "speechocean762 was not found (looked at --corpus-dir, SPEECHOCEAN762_DIR, ../shared/speechocean762,"
            f" {corpus_dir}). Next: get {URL} (520 MB; its publisher names no digest), unpack it and pass --corpus-dir;"
            " or pass --sha256 DIGEST, and it is downloaded and checked against that"
        )
    return fetch_corpus(URL, sha256, folder, "speechocean762", expects="train")


def _group(row: Utterance) -> tuple[str, str]:
    age = row.custom.get("age")
    if age is None:
        raise UserError(f"speaker {row.speaker} has no age in spk2age, by which the split is balanced")
    return ("child" if age <= CHILD_AGE else "adult", row.gender or "?")
