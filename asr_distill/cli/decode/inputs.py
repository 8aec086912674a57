"""What is to be decoded: the cuts of a CutSet or of audio files, with the transcripts and labels that they may have."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.base import UserError, normalise_text, split_words, track
from asr_distill.cli.decode.models import GaussianModel, ScoringModel
from asr_distill.data.checks import load_cuts
from asr_distill.decoding.evaluation import ScoredUtterance
from asr_distill.graph import Graph

References = Mapping[str, tuple[str, ...]]


def check_input_options(args: argparse.Namespace) -> None:
    """Raises `UserError` for options of one kind of input beside the other."""
    if args.audio is None:
        if args.system is None:
            raise UserError("--system is missing: name the system, as reports shall call it")
        if args.channel is not None:
            raise UserError("--channel belongs to --audio; the cuts of a CutSet name theirs")
    elif args.scale_grid:
        raise UserError(
            "--scale-grid chooses by error rate, and audio alone has no transcripts. Next: choose on --cuts that have some, and"
            " give what it writes by --scales-from"
        )


def read_cuts(args: argparse.Namespace, model: ScoringModel) -> list[Any]:
    """The cuts to decode. Raises `UserError` for those that cannot be, as far as is seen without reading audio."""
    if args.audio is not None:
        from asr_distill.data.audio_cuts import cuts_of_audio

        if isinstance(model, GaussianModel):
            raise UserError(
                f"--audio: {args.model} is a GMM, which reads stored features and does not say how they are computed. Next:"
                " `asr-distill features` on a CutSet, then --cuts"
            )
        return cuts_of_audio(args.audio, args.channel)
    cuts = load_cuts(args.cuts)
    if len({cut.id for cut in cuts}) < len(cuts):
        twice = next(id for id, times in Counter(cut.id for cut in cuts).items() if times > 1)
        raise UserError(f"{args.cuts}: cut id {twice!r} comes twice and would be scored twice; give each cut an id of its own")
    if args.scale_grid and args.alignments is None and not any(transcript_of(cut) for cut in cuts):
        raise UserError(f"--scale-grid chooses by error rate, and {args.cuts} has no transcripts; tune on cuts that have some")
    return cuts


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
    model: ScoringModel, cuts: Sequence[Any], phones: bool, references: References | None, stopwatch: dict[str, float]
) -> Iterator[ScoredUtterance]:
    """The cuts with their scores, and what they are compared with; ``stopwatch`` gathers the seconds.

    phones: the words are phones, whose references are ``references``, by cut id; without these they have none.
    """
    for cut, log_likelihoods, predicted, timings in track(model.scores(cuts), "decode", total=len(cuts), unit="cuts"):
        stopwatch["features"] += timings.features
        stopwatch["network"] += timings.network
        stopwatch["duration"] += timings.duration
        labels = None
        if cut.has_custom("senones") and cut.custom.get("senones_hash") == model.inventory.hash:
            labels = np.asarray(cut.load_senones(), np.int64)
            if len(labels) != len(predicted):
                raise UserError(f"cut {cut.id!r} has {len(labels)} labels and {len(predicted)} frames; label it again")
        reference = None if phones else transcript_of(cut)
        if references is not None:
            if cut.id not in references:
                raise UserError(f"cut {cut.id!r} has no reference phones in --alignments; align this split first")
            reference = references[cut.id]
        speaker = cut.supervisions[0].speaker if cut.supervisions else None
        yield ScoredUtterance(cut.id, speaker, reference, cut.duration, log_likelihoods, predicted, labels)
