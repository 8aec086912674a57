"""CMU AN4 in its own layout (etc/, wav/an4_clstk, wav/an4test_clstk), whichever of wav, sphere or raw its audio is in."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from asr_distill.base import UserError
from asr_distill.data.audio_files import find_audio
from asr_distill.data.corpora import AudioOptions, Utterance, check_counts, check_utterances, write_manifests
from asr_distill.data.download import fetch_corpus
from asr_distill.data.speaker_choice import RULE, choose_speakers

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
# The site publishes no digest. This one is what a public project pins for a mirror of the archive; where the site serves
# other bytes, `download` shows both digests and --sha256 decides.
SHA256 = "a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12"
EXPECTED = {"train": {"utterances": 948, "speakers": 74}, "test": {"utterances": 130, "speakers": 10, "words": 773}}
DEV_SPEAKERS = 8
_LINE = re.compile(r"^(?P<text>.*?)\s*\((?P<id>[^()\s]+)\)\s*$")
_FILLERS = {"<s>", "</s>", "<sil>"}


def prepare_an4(
    corpus_dir: Path, output: Path, *, allow_partial: bool = False, options: AudioOptions | None = None
) -> dict[str, Any]:
    """Writes manifests, lexicon.txt and uniform.arpa from the corpus at ``corpus_dir``; returns corpus.json's content.

    The dev set is 8 of the 74 training speakers (whole speakers, by `choose_speakers` over the genders that lead the
    speakers' names). Raises `UserError` where the layout is not AN4's or its counts are not those of the whole corpus.
    """
    parts = {part: read_part(corpus_dir, part, allow_partial) for part in ("train", "test")}
    check_utterances(parts)
    for part, utterances in parts.items():
        found = {
            "utterances": len(utterances),
            "speakers": len({row.speaker for row in utterances}),
            "words": sum(len(row.text.split()) for row in utterances),
        }
        check_counts(f"AN4's {part} part in {corpus_dir}", EXPECTED[part], found, allow_partial)
    genders = {row.speaker: row.speaker[0] for row in parts["train"]}
    size = min(DEV_SPEAKERS, max(1, len(genders) // 9))  # 8 of 74; a partial corpus gives the same share
    chosen = choose_speakers(genders, {"dev": size}, rest="train")
    dev = set(chosen["dev"])
    splits = {
        "train": [row for row in parts["train"] if row.speaker not in dev],
        "dev": [row for row in parts["train"] if row.speaker in dev],
        "test": parts["test"],
    }
    training_text = {row.text for row in parts["train"]}
    corpus = {
        "name": "an4",
        "source": "real",
        "split": {
            "rule": f"test: the corpus's own; dev: {size} of {len(genders)} training speakers; "
            + RULE.format(groups="gender, the first letter of their name"),
            "dev_speakers": chosen["dev"],
        },
        "test_transcripts_in_training_text": sorted(row.id for row in parts["test"] if row.text in training_text),
        "complete": not allow_partial,
    }
    texts = {
        "lexicon.txt": read_dictionary(corpus_dir / "etc" / "an4.dic"),
        "uniform.arpa": clean_arpa(corpus_dir / "etc" / "an4.ug.lm"),
    }
    return write_manifests(output, splits, corpus, options=options, texts=texts)


def fetch_an4(folder: Path, sha256: str = SHA256) -> Path:
    """Downloads and unpacks the corpus to ``folder/an4`` unless it is there; returns that folder.

    Raises `UserError` where there is no network (saying where to put the archive) or the digest is another.
    """
    try:
        return fetch_corpus(URL, sha256, folder, "an4", expects="etc")
    except UserError as error:
        looked = f"--corpus-dir, AN4_DIR, ../shared/an4, {folder / 'an4'}"
        raise UserError(f"AN4 was not found (looked at {looked}) and {error}") from None


def read_part(corpus_dir: Path, part: str, allow_partial: bool = False) -> list[Utterance]:
    """The utterances of ``part`` ("train" or "test"), in the order of its file list."""
    lists = corpus_dir / "etc" / f"an4_{part}.fileids"
    transcripts = read_transcripts(corpus_dir / "etc" / f"an4_{part}.transcription")
    utterances, missing = [], []
    for entry in _read_lines(lists):
        stem = corpus_dir / "wav" / entry
        name, speaker = stem.name, stem.parent.name
        audio = find_audio(stem)
        if audio is None:
            missing.append(f"wav/{entry}")
            continue
        if name not in transcripts:
            raise UserError(f"{lists} lists {name}, for which an4_{part}.transcription has no line")
        utterances.append(Utterance(name, audio, speaker, transcripts[name], gender={"f": "F", "m": "M"}.get(speaker[:1])))
    if missing and not allow_partial:
        raise UserError(
            f"{corpus_dir}: found {len(utterances)} of the {len(utterances) + len(missing)} {part} recordings"
            f" that {lists.name} lists; the first missing one is {missing[0]} (.wav, .sph or .raw)."
            " Next: get the whole corpus, or pass --allow-partial to go on with what is there"
        )
    return utterances


def read_transcripts(path: Path) -> dict[str, str]:
    """Utterance id to text, from lines such as ``<s> RUBOUT G M E F </s> (an406-fcaw-b)``; fillers are dropped."""
    found: dict[str, str] = {}
    for number, line in enumerate(_read_lines(path), 1):
        match = _LINE.match(line)
        if not match:
            raise UserError(f"{path}, line {number}: expected WORDS (UTTERANCE-ID), found {line!r}")
        if match["id"] in found:
            raise UserError(f"{path}, line {number}: {match['id']} has a transcript already; ids must be unique")
        found[match["id"]] = " ".join(word for word in match["text"].split() if word not in _FILLERS)
    return found


def read_dictionary(path: Path) -> str:
    """The CMU dictionary as a Kaldi lexicon.txt: ``WORD PHONE ...``, ``WORD(2)`` written as a further line of WORD."""
    lines: Counter[str] = Counter()
    for number, line in enumerate(_read_lines(path), 1):
        word, *phones = line.split()
        if not phones:
            raise UserError(f"{path}, line {number}: {word} has no pronunciation")
        lines[" ".join([re.sub(r"\(\d+\)$", "", word), *phones])] += 1
    return "\n".join(sorted(lines)) + "\n"


def clean_arpa(path: Path) -> str:
    r"""The corpus's uniform unigram as a plain ARPA file.

    The distributed file has pages of prose (which hold a second ``\data\``), a back-off weight on ``</s>`` and one bigram,
    ``<s> </s>`` with probability 1, beside unigrams that sum to 1 already: only the unigrams are kept.
    """
    lines = [line.strip() for line in _read_lines(path)]
    try:
        start, stop = lines.index("\\1-grams:", lines.index("\\data\\")), lines.index("\\2-grams:", lines.index("\\data\\"))
    except ValueError:
        raise UserError(f"{path}: not the ARPA file of the AN4 distribution (no \\data\\, \\1-grams: and \\2-grams:)") from None
    entries = [line.split() for line in lines[start + 1 : stop] if line]
    body = "\n".join(f"{float(entry[0]):.4f}\t{entry[1]}" for entry in entries)
    return f"\n\\data\\\nngram 1={len(entries)}\n\n\\1-grams:\n{body}\n\n\\end\\\n"


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected AN4 in its own layout: etc/an4_train.fileids, wav/an4_clstk/...")
    return [line for line in path.read_text(encoding="latin-1").splitlines() if line.strip()]
