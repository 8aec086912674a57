"""Mixtures on the leaves of a phonetic tree, trained from an alignment and realigned on the way: a GMM with context.

Nothing in it knows of triphones: any inventory will do. Estimation is `diag_gmm`'s, alignment our own exact search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asr_distill.alignment.cepstra import Cepstra, CepstraConfig
from asr_distill.alignment.checkpoint import CHECKPOINT_FILE, Checkpoint, TrainingState
from asr_distill.alignment.diag_gmm import DiagGmm, accumulate, estimate, mix_up, split_targets
from asr_distill.alignment.forced import AlignmentReport, ForcedAligner, check_failed_share
from asr_distill.alignment.gmm_model import GmmModel, gmm_writer
from asr_distill.alignment.monophone_data import read_training_data
from asr_distill.alignment.phone_lattice import TranscriptReader
from asr_distill.base import UserError, hash_of_array, hash_of_object, to_mapping, track, write_json, written_together
from asr_distill.lang.directory import Lang
from asr_distill.senones import FrameAlignment, SenoneInventory, write_alignments

_FACTS, _FAILURES = "triphone.json", "failures.json"


@dataclass(frozen=True)
class TriphoneConfig:
    """The schedule; iterations count estimations behind the single Gaussians that the given alignment gives.

    realign: before which iterations utterances are aligned anew. total_gaussians: reached after three quarters of the
    iterations; fewer where senones have too few frames. power: Gaussians go to senones by count ** power.
    """

    iterations: int = 20
    realign: tuple[int, ...] = (8, 14)
    total_gaussians: int = 2500
    power: float = 0.25
    unknown_word: str = ""
    seed: int = 0
    cepstra: CepstraConfig = field(default_factory=CepstraConfig)

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.total_gaussians < 1:
            raise ValueError("iterations and total_gaussians must be above 0")


def train_triphone(
    cuts: Iterable[Any],
    lang: Lang,
    inventory: SenoneInventory,
    alignments: Mapping[str, FrameAlignment],
    out: str | Path,
    config: TriphoneConfig | None = None,
    *,
    split: str = "train",
    max_failed_share: float = 0.05,
) -> AlignmentReport:
    """Trains on ``alignments`` (of the same phones as ``inventory``) and realigns; continues where an interrupted run with the
    same input stopped.

    Writes the model (gmm.safetensors, senones.json, gmm.json), alignments_SPLIT.jsonl.gz, failures.json and triphone.json to
    ``out``. Raises `UserError` where no cut has an alignment of its length, more than ``max_failed_share`` (0 to 1) fail in
    the end, another process trains there, or files of these names are there that this toolkit did not write.
    """
    check_failed_share(max_failed_share)
    config, out = config or TriphoneConfig(), Path(out)
    alignments_file = f"alignments_{split}.jsonl.gz"
    with gmm_writer(out, _FACTS, alignments_file, _FAILURES):
        return _train(cuts, lang, inventory, alignments, out, config, alignments_file, max_failed_share)


def _train(
    cuts: Iterable[Any],
    lang: Lang,
    inventory: SenoneInventory,
    alignments: Mapping[str, FrameAlignment],
    out: Path,
    config: TriphoneConfig,
    alignments_file: str,
    max_failed_share: float,
) -> AlignmentReport:
    reader = TranscriptReader.of_lang(lang, unknown_word=config.unknown_word or None)
    aligner = ForcedAligner(inventory, reader)
    data = read_training_data(cuts, Cepstra(config.cepstra), reader, inventory)
    features = data.by_key()
    labels = {key: inventory.label(alignments[key]) for key in data.keys if key in alignments}
    wrong = [key for key, senones in labels.items() if len(senones) != len(features[key])]
    if wrong or not labels:
        found = f"{wrong[0]!r} has {len(features[wrong[0]])} frames, its alignment {len(labels[wrong[0]])}" if wrong else "none"
        raise UserError(f"the alignments are not of these cuts ({found}); align these features first")
    senones = data.frame_senones(labels)
    identity = hash_of_object(["triphone", to_mapping(config), lang.hash, inventory.hash, data.hash, hash_of_array(senones)])
    checkpoint = Checkpoint(out / CHECKPOINT_FILE, identity)
    state = checkpoint.load()
    if state is None:
        state = TrainingState(0, _single_gaussians(data.features, senones, inventory.num_senones), {"senones": senones}, [])

    def realigned(gmm: DiagGmm) -> AlignmentReport:
        scores = ((key, gmm.log_likelihoods(features[key])) for key in data.keys)
        return aligner.align(data.transcripts, scores, total=len(data.keys))

    todo = range(state.iteration + 1, config.iterations + 1)
    for iteration in track(todo, "triphone training", len(todo), "iterations"):
        senones = state.arrays["senones"]
        if iteration in config.realign:
            aligned = realigned(state.gmm).alignments
            senones = data.frame_senones({key: inventory.label(alignment) for key, alignment in aligned.items()})
        gmm, measured = _estimated(state.gmm, data.features, senones, config, iteration)
        state = TrainingState(iteration, gmm, {"senones": senones}, [*state.history, measured])
        checkpoint.save(state)
    gmm, history = state.gmm, state.history
    report = realigned(gmm)
    report.failures.update(data.failures)
    report.judge(max_failed_share)
    facts = {
        "config": to_mapping(config),
        "senones_hash": inventory.hash,
        "lang_hash": lang.hash,
        "senones": inventory.num_senones,
        "gaussians": gmm.num_gaussians,
        "utterances": len(report.alignments),
        "failed": len(report.failures),
        "log_likelihood_per_frame": history[-1]["log_likelihood_per_frame"],
        "history": history,
    }
    with written_together():
        GmmModel(inventory, gmm, config.cepstra).save(out)
        write_alignments(out / alignments_file, report.alignments)
        write_json(out / _FAILURES, report.failures, listed=True)
        write_json(out / _FACTS, facts, listed=True)
    checkpoint.remove()
    return report


def _single_gaussians(features: np.ndarray, senones: np.ndarray, num_senones: int) -> DiagGmm:
    frames = features.astype(np.float64)
    flat = DiagGmm.flat(frames.mean(0), frames.var(0), num_senones)
    return estimate(flat, accumulate(flat, features, senones), min_occupancy=2.0)


def _estimated(
    gmm: DiagGmm, features: np.ndarray, senones: np.ndarray, config: TriphoneConfig, iteration: int
) -> tuple[DiagGmm, dict[str, Any]]:
    """One iteration: the mixtures estimated, split if another iteration follows, and what was measured on the way."""
    statistics = accumulate(gmm, features, senones)
    counts = np.bincount(senones[senones >= 0], minlength=gmm.num_senones)
    gmm = estimate(gmm, statistics)
    if iteration < config.iterations:  # what was split last must still be estimated
        last_growth = max(1, config.iterations * 3 // 4)
        step = (config.total_gaussians - gmm.num_senones) / last_growth
        target = gmm.num_senones + round(step * min(iteration, last_growth))
        targets = split_targets(counts, target, power=config.power)
        gmm = mix_up(gmm, targets, np.random.default_rng([config.seed, iteration]))
    likelihood = statistics.log_likelihood / max(statistics.num_frames, 1)
    return gmm, {"iteration": iteration, "gaussians": gmm.num_gaussians, "log_likelihood_per_frame": likelihood}
