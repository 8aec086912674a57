"""What is to be decoded: the cuts of a CutSet or of audio files, with the transcripts and labels that they may have."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_distill.base import UserError, normalise_text, progress_bar, split_words
from asr_distill.data.checks import check_cuts, load_cuts
from asr_distill.data.cut_features import senone_labels
from asr_distill.decoding.evaluation import ScoredUtterance
from asr_distill.experiments.decoding.models import NetworkModel, ScoredPiece, ScoringModel
from asr_distill.graph import Graph
from asr_distill.senones import SenoneInventory

if TYPE_CHECKING:
    from asr_distill.experiments.decoding.job import DecodingJob

_log = logging.getLogger("asr_distill")
FRAMES_A_SECOND = 100
References = Mapping[str, tuple[str, ...]]


def check_input_options(job: DecodingJob) -> None:
    """Raises `UserError` for options of one kind of input beside the other."""
    if not (job.max_segment == 0 or 1 <= job.max_segment < math.inf):
        raise UserError(f"--max-segment {job.max_segment:g}: expected seconds, 1 or more, or 0 to search recordings whole")
    if job.audio is None:
        if job.system is None:
            raise UserError("--system is missing: name the system, as reports shall call it")
        for name in ("channel", "speaker", "utt2spk"):
            if getattr(job, name) is not None:
                raise UserError(f"--{name} belongs to --audio; the cuts of a CutSet name theirs")
    elif job.speaker is not None and job.utt2spk is not None:
        raise UserError("--speaker is of all files, --utt2spk of each: give one of them")
    elif job.scales is not None:
        raise UserError(
            "--scale-grid chooses by error rate, and audio alone has no transcripts. Next: choose on --cuts that have some, and"
            " give what it writes by --scales-from"
        )


class LeftOut:
    """Utterances that cannot be decoded or compared: reported by id, counted, and bounded by a share of all.

    at_once: more than is allowed raise as they come; else `judge` does when the rest is written (``--audio``).
    """

    def __init__(self, total: int, allowed: float, at_once: bool) -> None:
        if not 0 <= allowed <= 1:
            raise UserError(f"--max-bad-share {allowed:g}: expected a share of the utterances from 0 to 1")
        self.total, self.allowed, self.at_once = total, allowed, at_once
        self.reasons: dict[str, str] = {}

    def add(self, key: str, error: UserError) -> None:
        """Notes one, by cut id or file."""
        self.reasons[key] = str(error)
        if self.at_once and not self.allowed:
            raise error
        if self.at_once and len(self.reasons) > self.allowed * self.total:
            listing = "\n".join(f"  {reason}" for reason in list(self.reasons.values())[:20])
            raise UserError(
                f"{len(self.reasons)} of {self.total} utterances cannot be decoded, more than the share of {self.allowed:g}"
                f" that is allowed (--max-bad-share):\n{listing}"
            )

    def judge(self) -> None:
        """Says which were left out; raises `UserError` where they are more than is allowed."""
        listing = "\n".join(self.reasons.values())
        if len(self.reasons) > self.allowed * self.total:
            raise UserError(
                f"{len(self.reasons)} of {self.total} files could not be searched; the rest are written:\n{listing}"
            )
        if self.reasons:
            _log.warning("%d of %d utterances were left out:\n%s", len(self.reasons), self.total, listing)


def read_cuts(job: DecodingJob, model: ScoringModel) -> tuple[list[Any], LeftOut]:
    """The cuts to decode, and what could not be read so far.

    Raises `UserError` for those that cannot be decoded, as far as is seen without reading audio; bad ``--audio`` is only noted.
    """
    if job.audio is not None:
        if not isinstance(model, NetworkModel):
            raise UserError(
                f"--audio: {job.model} is a GMM, which reads stored features and does not say how they are computed. Next:"
                " `asr-distill features` on a CutSet, then --cuts"
            )
        from asr_distill.data.audio_cuts import cuts_of_audio

        left_out = LeftOut(len(job.audio), job.max_bad_share, at_once=False)
        return cuts_of_audio(job.audio, job.channel, left_out.add, speakers=_speakers(job)), left_out
    if job.cuts is None:
        raise UserError("nothing to decode: give cuts or audio files")
    cuts = load_cuts(job.cuts)
    if len({cut.id for cut in cuts}) < len(cuts):
        twice = next(id for id, times in Counter(cut.id for cut in cuts).items() if times > 1)
        raise UserError(f"{job.cuts}: cut id {twice!r} comes twice and would be scored twice; give each cut an id of its own")
    if job.scales is not None and job.alignments is None and not any(transcript_of(cut) for cut in cuts):
        raise UserError(f"--scale-grid chooses by error rate, and {job.cuts} has no transcripts; tune on cuts that have some")
    check_cuts(cuts, str(job.cuts), need_supervision=False, need_text=False, need_speaker=False, need_audio=False)
    return cuts, LeftOut(len(cuts), job.max_bad_share, at_once=True)


def _speakers(job: DecodingJob) -> Callable[[str], str | None]:
    """The speaker of an audio file by its id."""
    if job.utt2spk is None:
        return lambda _: job.speaker
    from asr_distill.scoring import read_utterance_speakers

    known = read_utterance_speakers(job.utt2spk)

    def speaker(key: str) -> str:
        if key not in known:
            raise UserError(f"{job.utt2spk} has no line for {key!r}; the id of a file is its name without suffix")
        return known[key]

    return speaker


def transcript_of(cut: Any) -> tuple[str, ...] | None:
    """The words of the cut's supervisions; None where it has no text, which is not known to be silent."""
    texts = [supervision.text for supervision in cut.supervisions if supervision.text is not None]
    return tuple(split_words(normalise_text(" ".join(texts)), f"the transcript of cut {cut.id!r}")) if texts else None


def phone_references(graph: Graph, alignments: Path) -> References:
    """Base phones of each aligned utterance, silence left out."""
    from asr_distill.senones import read_alignments

    topology = graph.inventory.topology
    return {
        key: tuple(topology.base_phone(topology.name(int(p))) for p in alignment.phones if not topology.is_silence(int(p)))
        for key, alignment in read_alignments(alignments).items()
    }


def scored_utterances(
    model: ScoringModel,
    cuts: Sequence[Any],
    phones: bool,
    references: References | None,
    stopwatch: dict[str, float],
    left_out: LeftOut,
    longest: float = 0.0,
) -> Iterator[ScoredUtterance]:
    """The cuts with their scores, and what they are compared with; ``stopwatch`` gathers the seconds.

    phones: the words are phones, whose references are ``references``, by cut id; without these they have none. longest: seconds
    of a piece; a longer cut comes in several of its id. 0: whole.
    """
    told: set[str] = set()
    frames = round(longest * FRAMES_A_SECOND) or None

    def unreadable(cut: Any, error: UserError) -> None:
        left_out.add(cut.id if left_out.at_once else str(cut.recording.sources[0].source), error)

    scores = model.scores(cuts, unreadable, frames)
    for cut, log_likelihoods, predicted, timings, begin, total in _tracked(scores, len(cuts)):
        end = begin + len(predicted)
        try:
            labels = _labels(cut, total, model.inventory)
            if references is not None and cut.id not in references:
                raise UserError(f"cut {cut.id!r} has no reference phones in --alignments; align this split first")
        except UserError as error:
            if begin == 0:
                left_out.add(cut.id, error)
            continue
        if begin and cut.id not in told:
            told.add(cut.id)
            _log.info("%s: %.0f s, searched in pieces of %g s at most, cut at pauses", cut.id, cut.duration, longest)
        stopwatch["features"] += timings.features
        stopwatch["network"] += timings.network
        stopwatch["duration"] += timings.duration
        reference = references[cut.id] if references is not None else None if phones else transcript_of(cut)
        speaker = cut.supervisions[0].speaker if cut.supervisions else None
        part = None if labels is None else labels[begin:end]
        yield ScoredUtterance(cut.id, speaker, reference, timings.duration, log_likelihoods, predicted, part, begin)


def _tracked(scores: Iterator[ScoredPiece], total: int) -> Iterator[ScoredPiece]:
    """The pieces, behind a bar that counts whole cuts."""
    with progress_bar(desc="decode", total=total, unit="cuts") as bar:
        start = time.monotonic()
        for piece in scores:
            yield piece
            if piece.begin + len(piece.predicted) == piece.total:
                bar.update(1)
        _log.info("decode: %d cuts in %.1f s", bar.n, time.monotonic() - start)


def _labels(cut: Any, num_frames: int, inventory: SenoneInventory) -> np.ndarray | None:
    """``(T,)`` senones; None where the cut has none of this inventory."""
    if not cut.has_custom("senones") or cut.custom.get("senones_hash") != inventory.hash:
        return None
    return senone_labels(cut, "senones", num_frames, inventory.num_senones, inventory.hash).astype(np.int64)
