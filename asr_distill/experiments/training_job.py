"""Train one network: on labels, towards a teacher, or on whole utterances."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr_distill.base import UserError, from_mapping

if TYPE_CHECKING:
    from asr_distill.student.senone_task import SenoneTask
    from asr_distill.training import TrainingConfig
    from asr_distill.training.distillation import Teacher
    from asr_distill.training.lattice_free import LatticeFree
    from asr_distill.training.utterance_examples import UtteranceExamples

DEFAULT_SCALE = 0.15  # of log-likelihoods in sequence training, for a model that was not tuned
Loss = Literal["paper", "convex", "student_at_one", "corrected", "logits"]


@dataclass(frozen=True)
class SoftTargets:
    """What a student learns from: a store of soft targets, or the teacher itself, asked about each input.

    Args:
        store: what ``asr-distill soft-targets`` wrote; exactly one of ``store`` and ``teacher`` is given.
        teacher: bundle or ensemble.
        soften: with ``teacher``: the posterior that its members are combined to, or each member's.
        temperature: T of the equation.
        soft_weight: of the soft term, times T^2.
        hard_weight: of the term of the labels.
        loss: equation, see `asr_distill.distillation.soft_target_loss`.
    """

    store: Path | None = None
    teacher: Path | None = None
    soften: Literal["ensemble", "members"] = "ensemble"
    temperature: float = 1.0
    soft_weight: float = 1.0
    hard_weight: float = 0.5
    loss: Loss = "paper"

    def __post_init__(self) -> None:
        if (self.store is None) == (self.teacher is None):
            raise ValueError("expected either a store of soft targets or a teacher")


@dataclass(frozen=True)
class SequenceObjective:
    """Sequence training from a trained network: lattice-free MMI or state-level minimum Bayes risk.

    Args:
        objective: ``lfmmi`` or ``smbr``.
        alignments: of the training cuts; their phones make the denominator's n-gram.
        lang: of lfmmi: numerators from transcripts with this lexicon instead of from the phones.
        acoustic_scale: by default the initial model's own, else 0.15.
        frame_weight: of cross-entropy, 0 to 1.
        boost: of lfmmi: nats a wrong frame.
        margin: of smbr: nats a frame.
        tolerance: of lfmmi: frames that numerators may leave the alignment; -1: all.
        lm_order, lm_states, lm_scale: of the phone n-gram.
        lattice_beam: of the log-sums, nats.
        max_frames: longer utterances are left out.
        max_failed_share: of utterances without numerator, 0 to 1.
    """

    objective: Literal["lfmmi", "smbr"]
    alignments: Path
    lang: Path | None = None
    acoustic_scale: float | None = None
    frame_weight: float = 0.1
    boost: float = 0.0
    margin: float = 0.05
    tolerance: int = 5
    lm_order: int = 3
    lm_states: int = 1000
    lm_scale: float = 1.0
    lattice_beam: float = 15.0
    max_frames: int = 2000
    max_failed_share: float = 0.05


@dataclass(frozen=True)
class TrainingJob:
    """One network, in a bundle of its own.

    Args:
        config: a complete `TrainingConfig` as plain values, its seed, threads and device included.
        train: frame store to train on.
        dev: labelled frame store that decides the best epoch and early stopping.
        inventory, priors: senones.json and priors.json of the labels.
        output: the bundle's folder.
        share: of the training utterances, 0 to 1.
        initial_model: start from these weights instead of fresh ones.
        allow_shared_speakers: train and dev may have speakers in common.
        soft: distil from these targets; labels alone without.
        sequence: whole utterances instead of frames.
    """

    config: dict[str, Any]
    train: Path
    dev: Path | None
    inventory: Path
    priors: Path
    output: Path
    share: float = 1.0
    initial_model: Path | None = None
    allow_shared_speakers: bool = False
    soft: SoftTargets | None = None
    sequence: SequenceObjective | None = None

    def __post_init__(self) -> None:
        if self.soft is not None and self.sequence is not None:
            raise ValueError("expected soft targets or sequence training, found both")

    def run(self) -> dict[str, Any]:
        """Train the network, or return at once where it is trained; the summary of `train_model`."""
        from asr_distill.student.senone_task import open_senone_task
        from asr_distill.training import TrainingConfig, train_model

        config = from_mapping(TrainingConfig, self.config)
        task = open_senone_task(
            *(config, self.train, self.dev, self.inventory, self.priors),
            allow_shared_speakers=self.allow_shared_speakers,
            share=self.share,
            unlabelled=self.soft is not None,
        )
        examples: Any = task.train
        objective: Any = None
        if self.soft is not None:
            objective = _distillation(self.soft, task, config, self.inventory)
        elif self.sequence is not None:
            if self.initial_model is None:
                raise UserError(f"the objective {self.sequence.objective} fine-tunes a trained network: give an initial model")
            examples, objective = _lattice_free(self, self.sequence, task, config)
        summary = train_model(
            *(config, examples, task.dev, self.output, objective),
            description=task.parts.describe(),
            companions=task.parts.write,
            initial_model=self.initial_model,
        )
        if self.soft is not None:
            summary |= {"temperature": self.soft.temperature, "hard_weight": self.soft.hard_weight}
        return summary


def _distillation(soft: SoftTargets, task: SenoneTask, config: TrainingConfig, inventory: Path) -> Any:
    from asr_distill.training.distillation import Distillation

    if config.label_smoothing:
        raise UserError(
            f"label_smoothing is {config.label_smoothing:g}, but no loss of distillation smooths its labels:"
            " soft targets do that. Next: --set label_smoothing=0"
        )
    if soft.soft_weight == 0 and task.train.num_labelled == 0:
        raise UserError(
            f"--soft-weight 0 learns from labels alone, and none of the {task.train.num_examples} frames of {task.store.path}"
            " has one; give a --soft-weight above 0, or --train with labels"
        )
    return Distillation(
        _teacher(soft, task, config, inventory),
        soft_weight=soft.soft_weight,
        hard_weight=soft.hard_weight,
        variant=soft.loss,
    )


def _teacher(soft: SoftTargets, task: SenoneTask, config: TrainingConfig, inventory: Path) -> Teacher:
    from asr_distill.distillation import SoftTargetStore
    from asr_distill.senones import check_same
    from asr_distill.training.distillation import StoredTeacher
    from asr_distill.training.precision import choose_device

    device = choose_device(config.device)
    if soft.store is not None:
        store = SoftTargetStore.open(soft.store)
        check_same(store.senones_hash, task.inventory.hash, f"the soft targets {soft.store}", str(inventory))
        return StoredTeacher(store, task.store, soft.temperature, device)
    from asr_distill.student.ensemble import load_model
    from asr_distill.student.teachers import ModelTeacher, check_frames

    assert soft.teacher is not None
    model = load_model(soft.teacher, device=str(device), autocast=config.autocast)
    model.check_senones(task.inventory.hash, str(inventory))
    check_frames(model, task.store, config.window)
    return ModelTeacher(model, soft.temperature, soft.soften)


def _lattice_free(
    job: TrainingJob, options: SequenceObjective, task: SenoneTask, config: TrainingConfig
) -> tuple[UtteranceExamples, LatticeFree]:
    """Build the denominator from the alignments of the utterances in ``task``, their numerators, examples and objective.

    Raises:
        UserError: k2 is not installed, or parts belong to different senones.
    """
    import numpy as np

    from asr_distill.alignment import TranscriptReader
    from asr_distill.data.utterance_share import frames_of_share
    from asr_distill.lang.directory import Lang
    from asr_distill.senones import SenonePriors, read_alignments
    from asr_distill.sequence import LatticeFreeLoss, NumeratorBuilder, build_denominator, check_k2, estimate_phone_lm
    from asr_distill.student import BundleConfig
    from asr_distill.training.lattice_free import LatticeFree, make_numerators
    from asr_distill.training.precision import choose_device
    from asr_distill.training.utterance_examples import UtteranceExamples

    check_k2()
    assert job.initial_model is not None
    store, inventory, device = task.store, task.inventory, choose_device(config.device)
    priors = SenonePriors.load(job.priors, inventory.hash)
    alignments = read_alignments(options.alignments)
    frames = frames_of_share(store, job.share)
    chosen = np.unique(np.searchsorted(store.offsets, frames, side="right") - 1).tolist()
    sequences = [alignments[store.cut_ids[cut]].phones.tolist() for cut in chosen if store.cut_ids[cut] in alignments]
    if not sequences:
        raise UserError(f"{options.alignments} has no alignment of any cut of {store.path}; give those its labels were made of")
    lm = estimate_phone_lm(sequences, order=options.lm_order, max_states=options.lm_states)
    denominator = build_denominator(lm, inventory, lm_scale=options.lm_scale)
    tolerance = None if options.tolerance < 0 else options.tolerance
    scale = options.acoustic_scale
    if scale is None:
        scale = BundleConfig.load(job.initial_model).acoustic_scale or DEFAULT_SCALE
    loss = LatticeFreeLoss(
        denominator,
        criterion="smbr" if options.objective == "smbr" else "mmi",
        acoustic_scale=scale,
        boost=options.boost,
        margin=options.margin,
        tolerance=tolerance,
        beam=options.lattice_beam,
        device=device,
    )
    reader = TranscriptReader.of_lang(Lang.load(options.lang)) if options.lang is not None else None
    numerators = make_numerators(
        *(store, alignments, inventory, NumeratorBuilder(denominator, inventory, reader)),
        chosen=chosen,
        transcripts=reader is not None,
        keeps_times=tolerance is not None,
        max_frames=options.max_frames,
        max_failed_share=options.max_failed_share,
    )
    objective = LatticeFree(
        *(loss, numerators.graphs),
        priors=priors,
        frame_weight=options.frame_weight,
        names=store.cut_ids,
        max_failed_share=options.max_failed_share,
    )
    return UtteranceExamples(task.train, numerators.cuts), objective
