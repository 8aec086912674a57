"""Word times of hypotheses by forced alignment with the model that they were decoded with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_distill.base import UserError
from asr_distill.decoding.outputs import WordTimes

if TYPE_CHECKING:
    from asr_distill.decoding.evaluation import DecodedUtterance
    from asr_distill.experiments.decoding.models import ScoringModel
    from asr_distill.graph import Graph


def aligned_word_times(
    rows: Sequence[DecodedUtterance],
    cuts: Sequence[Any],
    model: ScoringModel,
    graph: Graph,
    lang_dir: Path,
    scale: float,
    longest: int | None = None,
) -> dict[str, WordTimes]:
    """By utterance id, (word, start, duration) in seconds of the words that were recognised; the cuts are scored once more.

    rows: utterances, or the pieces of at most ``longest`` frames that they were searched in.

    Utterances without words, and those whose hypothesis does not fit (fewer frames than states), are left out.
    """
    from asr_distill.alignment import ForcedAligner, TranscriptReader
    from asr_distill.lang import Lang

    lang = Lang.load(lang_dir)
    if graph.info.get("lang_hash") not in (None, lang.hash):
        raise UserError(
            f"--lang {lang_dir} has the hash {lang.hash[:16]}, {graph.path} was built with {graph.info['lang_hash'][:16]}:"
            " its pronunciations may be others. Next: give the lang directory of the graph, or none"
        )
    spoken = {_key(row.id, row.begin): row.result.words for row in rows if row.result.words}
    said = {row.id for row in rows if row.result.words}
    chosen = [cut for cut in cuts if cut.id in said]
    aligner = ForcedAligner(
        model.inventory,
        TranscriptReader.of_lang(lang),
        acoustic_scale=scale,
        transition_scale=graph.info["transition_scale"],
        self_loop_scale=graph.info["self_loop_scale"],
    )
    scored = ((_key(piece.cut.id, piece.begin), piece.log_likelihoods) for piece in model.scores(chosen, None, longest))
    report = aligner.align(spoken, ((key, scores) for key, scores in scored if key in spoken), total=len(spoken))
    shift = {cut.id: cut.frame_shift or 0.01 for cut in chosen}
    found: dict[str, WordTimes] = {}
    for row in sorted(rows, key=lambda row: row.begin):
        alignment = report.alignments.get(_key(row.id, row.begin))
        if alignment is not None:
            later = row.begin * shift[row.id]
            words = [(word, start + later, length) for word, start, length in alignment.word_segments(shift[row.id])]
            found[row.id] = [*found.get(row.id, ()), *words]
    return found


def _key(cut: str, begin: int) -> str:
    return f"{cut} {begin}"
