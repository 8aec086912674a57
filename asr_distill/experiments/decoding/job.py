"""The job that decodes: scales chosen on dev or taken from there, one search for each, a decode directory."""

from __future__ import annotations

import importlib.util
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr_distill.base import UserError, check_replaceable, read_json, write_json

if TYPE_CHECKING:
    from asr_distill.decoding.evaluation import DecodedUtterance, Setting
    from asr_distill.experiments.decoding.inputs import LeftOut
    from asr_distill.experiments.decoding.models import ScoringModel
    from asr_distill.graph import Graph

_log = logging.getLogger("asr_distill")
TUNED = "tuned.json"
FEW_WORDS = 300  # one per cent of them are three words
LONGEST = 60.0  # seconds that one search takes: a k2 lattice of a minute needs about a gigabyte
_K2_MIN_ACTIVE = 30  # K2Decoder's own, or fewer where max_active is as small


@dataclass(frozen=True)
class DecodingJob:
    """A decode directory of one model on one set.

    Args:
        model: bundle, ensemble, or the folder of a GMM.
        output: the directory to write.
        cuts: lhotse CutSet; with senone labels, frames are scored too.
        audio: audio files instead, one utterance each; nothing is scored.
        graphs: graph folders; several with ``scales``: the best is kept. Without any, that of ``scales_from``.
        system, split: names for reports; by default the model and the last part of ``output``.
        channel: of audio files with several.
        speaker: of all audio files, whose statistics are then pooled; by default each stands alone.
        utt2spk: the speaker of each audio file by its id (the name without suffix), as Kaldi writes it.
        engine: ``auto`` is k2 where it is installed.
        acoustic_scale: by default the one in the bundle, else 0.1.
        scales: acoustic scales to try; the best by word error rate goes to tuned.json.
        scales_from: a tuned.json, whose scale (and graph) is taken.
        beam, lattice_beam, max_active: of the search; the engine's own by default.
        nbest: word sequences to write.
        lang: lang directory: word times by forced alignment of the hypothesis; of audio, those of the graph by default.
        alignments: reference phones for a phone loop.
        max_segment: seconds; longer recordings are searched in pieces, cut at pauses; 0: whole.
        max_bad_share: share of utterances to leave out where audio or labels cannot be used, 0 to 1.
        device, autocast: for the network and k2.
    """

    model: Path
    output: Path
    cuts: Path | None = None
    audio: tuple[Path, ...] | None = None
    graphs: tuple[Path, ...] = ()
    system: str | None = None
    split: str | None = None
    channel: int | None = None
    speaker: str | None = None
    utt2spk: Path | None = None
    engine: Literal["auto", "k2", "kaldi"] = "auto"
    acoustic_scale: float | None = None
    scales: tuple[float, ...] | None = None
    scales_from: Path | None = None
    beam: float | None = None
    lattice_beam: float = 8.0
    max_active: int | None = None
    nbest: int = 1
    lang: Path | None = None
    alignments: Path | None = None
    max_segment: float = LONGEST
    max_bad_share: float = 0.0
    device: str = "cpu"
    autocast: Literal["off", "bf16", "auto"] = "off"

    def run(self) -> dict[str, Any]:
        """Decode and write; returns what decode.json says.

        Raises:
            UserError: parts do not fit each other, or more utterances are bad than may be.
        """
        summary, _, left_out = self.search()
        left_out.judge()
        return summary

    def search(self) -> tuple[dict[str, Any], list[DecodedUtterance], LeftOut]:
        """As `run`, but also returns the utterances, and those that were left out, which are still to be judged."""
        from asr_distill.decoding.evaluation import Setting, decode_utterances, join_pieces
        from asr_distill.decoding.outputs import DECODE_FILE
        from asr_distill.decoding.tuning import best_setting
        from asr_distill.experiments.decoding.inputs import (
            check_input_options,
            phone_references,
            read_cuts,
            scored_utterances,
        )
        from asr_distill.experiments.decoding.models import open_model
        from asr_distill.experiments.decoding.summary import error_rate, join_subwords, not_final, without_words

        began = time.perf_counter()
        check_replaceable(self.output, kind=DECODE_FILE)
        check_input_options(self)
        tuned = read_json(self.scales_from) if self.scales_from else {}
        graphs = self._graphs(tuned)
        model = open_model(self.model, self.device, self.autocast, few=self.audio is not None)
        for graph in graphs:
            graph.check(model.inventory.num_senones, model.inventory.hash, str(self.model))
        scales = self._scales(tuned, model.acoustic_scale)
        engine = found_engine(self.engine)
        settings = [Setting(decoder, scale) for decoder in (self._decoder(engine, g) for g in graphs) for scale in scales]
        origin = [(graph, scale) for graph in graphs for scale in scales]

        cuts, left_out = read_cuts(self, model)
        phones = graphs[0].units == "phones"
        references = phone_references(graphs[0], self.alignments) if phones and self.alignments else None
        stopwatch = {"features": 0.0, "network": 0.0, "duration": 0.0}
        decoded: list[list[DecodedUtterance]] = [[] for _ in settings]
        search = [0.0] * len(settings)
        utterances = scored_utterances(model, cuts, phones, references, stopwatch, left_out, self.max_segment)
        for index, seconds, batch in decode_utterances(utterances, settings, model.inventory.silence_senones):
            subwords = origin[index][0].info.get("kind") == "subwords"
            decoded[index] += [join_subwords(utterance) for utterance in batch] if subwords else batch
            search[index] += seconds
        if not decoded[0]:
            raise UserError("; ".join(left_out.reasons.values()) or f"{self.cuts} has no utterance that can be decoded")
        left_out.reasons = {key: left_out.reasons[key] for key in sorted(left_out.reasons, key=_place(self.audio))}
        signs, parts = model.signs(), decoded
        decoded = [join_pieces(rows) for rows in decoded]
        decoded = [[without_words(row) if row.id in signs["silent"] else row for row in rows] for rows in decoded]

        rates = [error_rate(rows) for rows in decoded]
        words = sum(len(utterance.reference or ()) for utterance in decoded[0])
        best = best_setting([rate or 0.0 for rate in rates], [len(not_final(rows)) for rows in decoded], len(scales), words)
        order = {cut.id: position for position, cut in enumerate(cuts)}
        rows = sorted(decoded[best], key=lambda utterance: order[utterance.id])
        rtf = {key: stopwatch[key] / stopwatch["duration"] for key in ("features", "network")}
        rtf["search"] = search[best] / stopwatch["duration"]
        notes = {**signs, "left_out": left_out.reasons}
        notes["in_pieces"] = sorted({row.id for row in parts[best] if row.begin})
        summary = self._write(model, cuts, rows, parts[best], origin[best], settings[best], engine, rates[best], rtf, notes)
        if self.scales is not None:
            grid = [
                {"graph": str(g.path), "acoustic_scale": scale, "error_rate": rates[i], "not_final": len(not_final(decoded[i]))}
                for i, (g, scale) in enumerate(origin)
            ]
            chosen = {"cuts": str(self.cuts), "engine": engine, **grid[best], "grid": grid}
            write_json(self.output / TUNED, chosen, listed=True)
            _warn_of_few(rows, words)
            summary["grid"] = grid
        if self.audio:
            files = {cut.id: str(cut.recording.sources[0].source) for cut in cuts}
            summary["hypotheses"] = [
                {"id": row.id, "audio": files[row.id], "hypothesis": " ".join(row.result.words)} for row in rows
            ]
            summary["failed"] = left_out.reasons
        summary["seconds"] = time.perf_counter() - began
        return summary, rows, left_out

    def _write(
        self,
        model: ScoringModel,
        cuts: Sequence[Any],
        rows: list[DecodedUtterance],
        parts: list[DecodedUtterance],
        origin: tuple[Graph, float],
        setting: Setting,
        engine: str,
        rate: float | None,
        rtf: dict[str, float],
        notes: dict[str, Any],
    ) -> dict[str, Any]:
        """Write the decode directory and return what its decode.json says."""
        from asr_distill.decoding.outputs import write_decode_directory
        from asr_distill.experiments.decoding.models import ensemble_facts
        from asr_distill.experiments.decoding.summary import frame_accuracies, not_final, phone_counts

        graph, scale = origin
        times = None
        lang = self.lang or (graph.lang if self.audio else None)
        if lang and graph.units == "words":
            from asr_distill.experiments.decoding.times import aligned_word_times

            times = aligned_word_times(parts, cuts, model, graph, lang, scale, self._longest)
        lost = not_final(rows)
        summary: dict[str, Any] = {
            "system": self.system or str(self.model),
            "split": self.split or self.output.name,
            "model": str(self.model),
            **ensemble_facts(self.model),
            "seed": model.seed,
            "graph": str(graph.path),
            "g": graph.info.get("g"),
            "units": graph.units,
            "senones_hash": graph.senones_hash,
            "words_hash": graph.info.get("words_hash"),
            "num_words": graph.info.get("num_words"),
            "engine": engine,
            "acoustic_scale": scale,
            "lm_scale": graph.info.get("lm_scale"),
            "word_penalty": graph.info.get("word_penalty"),
            **setting.decoder.options,
            "utterances": len(rows),
            "not_final": len(lost),
            "not_final_ids": lost,
            **notes,
            "error_rate": rate,
            "frame_accuracy": frame_accuracies(rows),
            "word_times": "frame of the best path whose arc wrote the word" if times is None else "forced alignment",
            "word_times_aligned": len(times or {}),
            "seconds_of_speech": round(sum(row.duration for row in rows), 3),
            "rtf": rtf,
        }
        extra = {row.id: phone_counts(row) for row in rows if row.reference is not None} if graph.units == "phones" else None
        write_decode_directory(self.output, rows, summary["split"], summary, word_times=times, extra=extra)
        return summary

    @property
    def _longest(self) -> int | None:
        from asr_distill.experiments.decoding.inputs import FRAMES_A_SECOND

        return round(self.max_segment * FRAMES_A_SECOND) or None

    def _graphs(self, tuned: dict[str, Any]) -> list[Graph]:
        from asr_distill.graph import load_graph

        paths = self.graphs or ((Path(tuned["graph"]),) if "graph" in tuned else ())
        if not paths:
            raise UserError("no graph was given; next: --graph DIR")
        if len(paths) > 1 and self.scales is None:
            raise UserError(f"{len(paths)} graphs were given; several are for --scale-grid, which chooses one of them")
        graphs = [load_graph(path) for path in paths]
        if len({graph.units for graph in graphs}) > 1:
            raise UserError("word graphs and phone loops cannot be compared with each other; decode them one by one")
        if graphs[0].units == "phones" and not self.alignments and not self.audio:
            raise UserError("a phone loop needs reference phones; next: --alignments labels/alignments_SPLIT.jsonl.gz")
        return graphs

    def _scales(self, tuned: dict[str, Any], of_bundle: float | None) -> Sequence[float]:
        if self.scales_from:
            if "acoustic_scale" not in tuned:
                raise UserError(f"{self.scales_from} has no acoustic_scale; write it with --scale-grid on dev")
            return [float(tuned["acoustic_scale"])]
        scales = self.scales
        if scales is None:
            scales = (self.acoustic_scale if self.acoustic_scale is not None else of_bundle or 0.1,)
        if any(not 0 < scale < math.inf for scale in scales):
            raise UserError(f"acoustic scales must be above 0 and finite, found {list(scales)}")
        return scales

    def _decoder(self, engine: str, graph: Graph) -> Any:
        from asr_distill.decoding import K2Decoder, KaldiDecoder

        given: dict[str, Any] = {"beam": self.beam, "max_active": self.max_active}
        given = {key: value for key, value in given.items() if value is not None}
        if engine == "kaldi":
            if self.nbest > 1 and self.max_active is not None:
                raise UserError(
                    "--max-active: kaldi's search for --nbest above 1 knows no such bound. Next: leave it out and choose"
                    " --beam, or --engine k2"
                )
            return KaldiDecoder(graph, lattice_beam=self.lattice_beam, nbest=self.nbest, **given)
        if self.max_active is not None:
            given["min_active"] = min(_K2_MIN_ACTIVE, max(0, self.max_active - 1))
        if "beam" in given:
            given["search_beam"] = given.pop("beam")
        return K2Decoder(graph, output_beam=self.lattice_beam, device=self.device, nbest=self.nbest, **given)


def _warn_of_few(rows: Sequence[DecodedUtterance], words: int) -> None:
    """Scales that are chosen on a few words, or on one voice, are chosen by chance."""
    speakers = {row.speaker for row in rows if row.speaker is not None}
    if words < FEW_WORDS or len(speakers) == 1:
        voices = f"{len(speakers)} speaker{'s' * (len(speakers) != 1)}" if speakers else "unknown speakers"
        _log.warning(
            "the scales were chosen on %d words of %s, where one word is %.2f points: much of the choice is chance. Next: more"
            " dev speakers, or a scale of your own (--acoustic-scale)",
            *(words, voices, 100 / max(words, 1)),
        )


def found_engine(wanted: str) -> str:
    """Return the engine that searches: of ``auto``, k2 where it is installed."""
    if wanted != "auto":
        return wanted
    return "k2" if importlib.util.find_spec("k2") else "kaldi"


def _place(files: Sequence[Path] | None) -> Callable[[str], int]:
    """The order in which files were given; none for cuts."""
    places = {str(path): place for place, path in enumerate(files or ())}
    return lambda key: places.get(key, 0)
