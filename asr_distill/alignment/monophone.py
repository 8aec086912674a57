"""Flat-start monophone GMM-HMM, on the schedule of Kaldi's ``train_mono.sh``.

Every iteration re-estimates the mixtures from the current alignment; some realign first. Alignments, training graphs and
transition probabilities are kaldi-hmm-gmm's; the statistics are matrix products over all frames of a senone at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.alignment.cepstra import Cepstra, CepstraConfig
from asr_distill.alignment.checkpoint import CHECKPOINT_FILE, Checkpoint, TrainingState
from asr_distill.alignment.diag_gmm import DiagGmm, accumulate, estimate, mix_up, split_targets
from asr_distill.alignment.forced import AlignmentReport, check_failed_share, judge_failures
from asr_distill.alignment.gmm_model import GmmModel, gmm_writer
from asr_distill.alignment.kaldi_hmm import BEAM, RETRY_BEAM, KaldiHmm
from asr_distill.alignment.monophone_data import TrainingData, equal_split, read_training_data
from asr_distill.alignment.phone_lattice import TranscriptReader
from asr_distill.base import hash_of_object, to_mapping, track, write_json, written_together
from asr_distill.graph.labels import read_lexicon_fst
from asr_distill.lang.directory import Lang
from asr_distill.senones import FrameAlignment, SenoneInventory, default_topology, monophone_tree, write_alignments

_FACTS, _FAILURES = "mono.json", "failures.json"
FIRST_MIN_OCCUPANCY = 3.0
DEFAULT_REALIGN = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 29, 32, 35, 38)


@dataclass(frozen=True)
class MonophoneConfig:
    """The schedule; defaults are Kaldi's.

    iterations: passes of estimation behind the flat start. realign: before which of them utterances are aligned anew.
    total_gaussians: reached after three quarters of the iterations. power: Gaussians go to senones by count ** power.
    first_beam, beam, retry_beam: in scaled nats; the first holds for the first realignment, the last for a second try.
    silence_states: of the silence model. unknown_word: stands for words that the lexicon lacks; none where empty.
    """

    iterations: int = 40
    realign: tuple[int, ...] = DEFAULT_REALIGN
    total_gaussians: int = 1000
    power: float = 0.25
    first_beam: float = 6.0
    beam: float = BEAM
    retry_beam: float = RETRY_BEAM
    silence_states: int = 5
    unknown_word: str = ""
    seed: int = 0
    cepstra: CepstraConfig = field(default_factory=CepstraConfig)

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.total_gaussians < 1 or min(self.first_beam, self.beam) <= 0:
            raise ValueError("iterations, total_gaussians and beams must be above 0")
        for name, most in (("iterations", 10_000), ("total_gaussians", 10_000_000), ("silence_states", 100)):
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at most {most}")
        if self.retry_beam < self.beam:
            raise ValueError(f"retry_beam {self.retry_beam} is below beam {self.beam}")


def monophone_inventory(lang: Lang, silence_states: int = 5) -> SenoneInventory:
    """The senones of the monophone GMM: each state of a base phone, silence states apart."""
    topology = default_topology(
        lang.real_phones, lang.silence_phones, silence_states=silence_states, silence_pdf_classes=silence_states
    )
    return SenoneInventory(topology, monophone_tree(topology))


def train_monophone(
    cuts: Iterable[Any],
    lang: Lang,
    out: str | Path,
    config: MonophoneConfig | None = None,
    *,
    split: str = "train",
    max_failed_share: float = 0.05,
) -> AlignmentReport:
    """Trains from nothing but transcripts and a lexicon; continues where an interrupted run with the same input stopped.

    Args:
        cuts: with stored filterbanks and one supervision each.
        out: gets gmm.safetensors, transitions.safetensors, senones.json, mono.json, alignments_SPLIT.jsonl.gz, failures.json.
        max_failed_share: the share of utterances, 0 to 1, that may fail to align in the end; one with an empty transcript
            is among them.

    Raises `UserError` where more fail, the share is none, the cuts have no features, another process trains there, or files
    of these names are there that this toolkit did not write.
    """
    check_failed_share(max_failed_share)
    config, out = config or MonophoneConfig(), Path(out)
    alignments_file = f"alignments_{split}.jsonl.gz"
    with gmm_writer(out, _FACTS, alignments_file, _FAILURES):
        return _train(cuts, lang, out, config, alignments_file, max_failed_share)


def _train(
    cuts: Iterable[Any], lang: Lang, out: Path, config: MonophoneConfig, alignments_file: str, max_failed_share: float
) -> AlignmentReport:
    inventory = monophone_inventory(lang, config.silence_states)
    reader = TranscriptReader.of_lang(lang, unknown_word=config.unknown_word or None)
    data = read_training_data(cuts, Cepstra(config.cepstra), reader, inventory)
    judge_failures(data.failures, len(data.keys) + len(data.failures), max_failed_share)
    identity = hash_of_object(["monophone", to_mapping(config), lang.hash, inventory.hash, data.hash])
    trainer = _Trainer(config, lang, inventory, data, Checkpoint(out / CHECKPOINT_FILE, identity))
    trainer.run()
    model = GmmModel(inventory, trainer.gmm, config.cepstra, trainer.hmm.log_probabilities)
    aligned, retried = trainer.align(config.beam)
    report = AlignmentReport(failures=dict(data.failures))
    for key in data.keys:
        if key in aligned:
            report.alignments[key] = trainer.frame_alignment(key, aligned[key], reader.silence)
        else:
            report.failures[key] = f"no path within the beams {config.beam:g} and {config.retry_beam:g}"
    report.judge(max_failed_share)
    frames = sum(len(alignment) for alignment in report.alignments.values())
    total = sum(alignment.log_likelihood or 0.0 for alignment in report.alignments.values())
    with written_together():
        model.save(out)
        write_alignments(out / alignments_file, report.alignments)
        write_json(out / _FAILURES, report.failures, listed=True)
        write_json(
            out / _FACTS,
            {
                "config": to_mapping(config),
                "senones_hash": inventory.hash,
                "lang_hash": lang.hash,
                "senones": inventory.num_senones,
                "gaussians": trainer.gmm.num_gaussians,
                "utterances": len(report.alignments),
                "failed": len(report.failures),
                "retried": retried,
                "frames": frames,
                "log_likelihood_per_frame": total / max(frames, 1),
                "history": trainer.history,
            },
            listed=True,
        )
    trainer.checkpoint.remove()
    return report


class _Trainer:
    """The state of training between iterations: mixtures, transition probabilities, the current alignment."""

    def __init__(
        self, config: MonophoneConfig, lang: Lang, inventory: SenoneInventory, data: TrainingData, checkpoint: Checkpoint
    ) -> None:
        self.config, self.inventory, self.data, self.checkpoint = config, inventory, data, checkpoint
        self.silence = lang.phones[lang.silence_phone]
        self.features = data.by_key()
        self.history: list[dict[str, Any]] = []
        self.alignment: dict[str, np.ndarray] = {}
        restored = checkpoint.load()
        if restored is None:
            self.done, self.hmm = 0, KaldiHmm(inventory)
            self.gmm = self._flat_start()
        else:
            self.done, self.history = restored.iteration, restored.history
            self.hmm = KaldiHmm(inventory, restored.arrays["log_probabilities"])
            self.gmm = restored.gmm
            self.alignment = _unpacked(restored.arrays, data.keys)
        lexicon = read_lexicon_fst(lang.lexicon_fst_path, lang.phones.ids, lang.words.ids)
        compiler = self.hmm.compiler(lexicon, lang.disambig_ids)
        reader = TranscriptReader.of_lang(lang, unknown_word=config.unknown_word or None)
        self.graphs = {key: compiler.compile_graph_from_text(reader.units(data.transcripts[key])[0]) for key in data.keys}

    def _flat_start(self) -> DiagGmm:
        frames = self.data.features.astype(np.float64)
        gmm = DiagGmm.flat(frames.mean(0), frames.var(0), self.inventory.num_senones)
        split = {}
        for key in self.data.keys:
            senones = equal_split(len(self.features[key]), self.data.lattices[key], self.inventory, self.silence)
            if senones is not None:
                split[key] = senones
        statistics = accumulate(gmm, self.data.features, self.data.frame_senones(split))
        return estimate(gmm, statistics, min_occupancy=FIRST_MIN_OCCUPANCY)

    def run(self) -> None:
        """The remaining iterations."""
        config = self.config
        last_growth = max(1, config.iterations * 3 // 4)
        step = (config.total_gaussians - self.inventory.num_senones) / last_growth
        todo = range(self.done + 1, config.iterations + 1)
        for iteration in track(todo, "monophone training", len(todo), "iterations"):
            retried = 0
            if iteration in config.realign or not self.alignment:
                self.alignment, retried = self.align(config.first_beam if iteration == 1 else config.beam)
                self.hmm.update_transitions(self.alignment.values())
            senones = {key: self.hmm.senone[path] for key, path in self.alignment.items()}
            statistics = accumulate(self.gmm, self.data.features, self.data.frame_senones(senones))
            occupancies = statistics.senone_occupancies(self.gmm)
            self.gmm = estimate(self.gmm, statistics)
            # The number that this iteration mixes up to lags one step behind, as in Kaldi's script.
            target = self.inventory.num_senones + round(step * min(iteration - 1, last_growth))
            generator = np.random.default_rng([config.seed, iteration])
            self.gmm = mix_up(self.gmm, split_targets(occupancies, target, power=config.power), generator)
            self.history.append(
                {
                    "iteration": iteration,
                    "aligned": len(self.alignment),
                    "retried": retried,
                    "gaussians": self.gmm.num_gaussians,
                    "log_likelihood_per_frame": statistics.log_likelihood / max(statistics.num_frames, 1),
                }
            )
            arrays = {"log_probabilities": self.hmm.log_probabilities, **_packed(self.alignment, self.data.keys)}
            self.checkpoint.save(TrainingState(iteration, self.gmm, arrays, self.history))

    def align(self, beam: float) -> tuple[dict[str, np.ndarray], int]:
        """Transition ids by utterance, and how many needed the retry beam."""
        return self.hmm.align(self.graphs, self.features, self.gmm, beam=beam, retry_beam=self.config.retry_beam)

    def frame_alignment(self, key: str, path: np.ndarray, silence: int) -> FrameAlignment:
        """The library's transition ids as phones, states and words."""
        ends = self.hmm.ends_phone[path]
        phones = self.hmm.phone[path][ends]
        index = np.concatenate([[0], np.cumsum(ends)[:-1]])
        lattice = self.data.lattices[key]
        scores = self.gmm.log_likelihoods(self.features[key])
        return FrameAlignment(
            phones,
            index,
            self.hmm.hmm_state[path],
            lattice.word_spans(lattice.find_path(phones.tolist()), silence),
            float(scores[np.arange(len(path)), self.hmm.senone[path]].sum(dtype=np.float64)),
        )


def _packed(alignment: Mapping[str, np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Transition ids of all utterances in a row; the n-th is utterance ``keys[utterances[n]]``, up to ``ends[n]``."""
    index = {key: i for i, key in enumerate(keys)}
    return {
        "utterances": np.array([index[key] for key in alignment], dtype=np.int64),
        "transitions": np.concatenate([np.zeros(0, dtype=np.int32), *alignment.values()]).astype(np.int32),
        "ends": np.cumsum([len(path) for path in alignment.values()], dtype=np.int64),
    }


def _unpacked(arrays: Mapping[str, np.ndarray], keys: Sequence[str]) -> dict[str, np.ndarray]:
    paths = np.split(arrays["transitions"], arrays["ends"])[:-1]
    return {keys[utterance]: path for utterance, path in zip(arrays["utterances"], paths, strict=True)}
