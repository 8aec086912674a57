"""The part of monophone training that kaldi-hmm-gmm does: transition model, training graphs, alignment with beams.

Three traps of its version 1.1.4: ``add_transition_probs`` changes the graph it is given; ``align_utterance_wrapper`` returns a
7-tuple with the alignment at [5]; ``init_stats`` has one entry more than there are transition ids, for ids start at 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from asr_distill.alignment.diag_gmm import DiagGmm
from asr_distill.graph.arrays import FstArrays, to_fst
from asr_distill.senones import SenoneInventory, Topology

BEAM, RETRY_BEAM = 10.0, 40.0
ACOUSTIC_SCALE, TRANSITION_SCALE, SELF_LOOP_SCALE = 0.1, 1.0, 0.1
ALIGNMENT = 5  # where align_utterance_wrapper's result has it


class KaldiHmm:
    """The HMMs of a topology whose states each have a pdf class of their own, senones shared by the variants of a base phone.

    Attributes:
        model: kaldi_hmm_gmm.TransitionModel.
        senone_of_pdf: ``(C,)`` the senone of each of the library's pdfs.
        phone, hmm_state, senone, ends_phone: by transition id (row 0 is unused).
    """

    def __init__(self, inventory: SenoneInventory, log_probabilities: np.ndarray | None = None) -> None:
        import kaldi_hmm_gmm as khg

        topology = inventory.topology
        self.topology = khg.HmmTopology()
        self.topology.read(topology.to_kaldi_text(separate_pdf_classes=False))
        variants: dict[str, list[int]] = {}
        for phone, name in enumerate(topology.phones, 1):
            variants.setdefault(inventory.tree.root_phone(name), []).append(phone)
        self.context = khg.monophone_context_dependency_shared(
            list(variants.values()), self.topology.get_phone_to_num_pdf_classes()
        )
        self.model = khg.TransitionModel(self.context, self.topology)
        if log_probabilities is not None:
            self.model = _with_log_probabilities(self.model, log_probabilities)
        self.senone_of_pdf = self._senones(topology, inventory)
        self._read_transition_ids()

    def _senones(self, topology: Topology, inventory: SenoneInventory) -> np.ndarray:
        senones = np.full(self.model.num_pdfs, -1, dtype=np.int64)
        for phone in range(1, len(topology.phones) + 1):
            for pdf_class in range(topology.num_pdf_classes(phone)):
                found, pdf = self.context.compute([phone], pdf_class)
                if not found:
                    raise RuntimeError(f"kaldi-hmm-gmm has no pdf for phone {phone}, class {pdf_class}")
                senones[pdf] = inventory.tree.senone((phone,), pdf_class)
        if sorted(senones.tolist()) != list(range(inventory.num_senones)):
            raise RuntimeError("kaldi-hmm-gmm ties other states than the senone inventory")
        return senones

    def _read_transition_ids(self) -> None:
        count = self.model.num_transition_ids + 1
        self.phone, self.hmm_state, self.senone = (np.zeros(count, dtype=np.int64) for _ in range(3))
        self.ends_phone = np.zeros(count, dtype=bool)
        # A tuple's __getstate__ is (phone, HMM state, forward pdf, self-loop pdf); it has no named attributes.
        tuples = [transition_state.__getstate__() for transition_state in self.model.tuples]
        states = np.asarray(self.model.id2state)
        for transition in range(1, count):
            phone, state, pdf, _ = tuples[states[transition] - 1]
            self.phone[transition], self.hmm_state[transition], self.senone[transition] = phone, state, self.senone_of_pdf[pdf]
            self.ends_phone[transition] = self.model.is_final(transition)

    @property
    def log_probabilities(self) -> np.ndarray:
        """``(transition ids + 1,)`` float32, to restore the transition model from."""
        return np.asarray(self.model.__getstate__()[LOG_PROBABILITIES], dtype=np.float32)

    def acoustic_model(self, gmm: DiagGmm) -> Any:
        """The mixtures as the library's AmDiagGmm."""
        import kaldi_hmm_gmm as khg

        model = khg.AmDiagGmm()
        for senone in self.senone_of_pdf:
            part = slice(gmm.offsets[senone], gmm.offsets[senone + 1])
            mixture = khg.DiagGmm(int(part.stop - part.start), gmm.dimension)
            mixture.set_weights(gmm.weights[part].astype(np.float32))
            mixture.set_invvars_and_means((1 / gmm.variances[part]).astype(np.float32), gmm.means[part].astype(np.float32))
            mixture.compute_gconsts()
            model.add_pdf(mixture)
        return model

    def update_transitions(self, alignments: Iterable[np.ndarray]) -> None:
        """Maximum-likelihood update of the transition probabilities from sequences of transition ids."""
        import kaldi_hmm_gmm as khg

        counts = np.zeros(self.model.num_transition_ids + 1, dtype=np.float64)
        for alignment in alignments:
            counts += np.bincount(alignment, minlength=len(counts))
        self.model.mle_update(counts, khg.MleTransitionUpdateConfig())

    def compiler(self, lexicon_fst: FstArrays, disambiguation: Sequence[int]) -> Any:
        """Compiles training graphs, without transition probabilities, from word ids."""
        import kaldi_hmm_gmm as khg

        # Without reordering, a self-loop comes before the transition that leaves its state, so a phone ends where that does.
        options = khg.TrainingGraphCompilerOptions(transition_scale=0.0, self_loop_scale=0.0, reorder=False)
        return khg.TrainingGraphCompiler(self.model, self.context, to_fst(lexicon_fst), list(disambiguation), options)

    def align(
        self, graphs: Mapping[str, Any], features: Mapping[str, np.ndarray], gmm: DiagGmm, *, beam: float, retry_beam: float
    ) -> tuple[dict[str, np.ndarray], int]:
        """Transition ids ``(T,)`` of each utterance that survives the beams, and how many needed the wider one."""
        import kaldi_hmm_gmm as khg

        acoustic_model = self.acoustic_model(gmm)
        config = khg.AlignConfig(beam=beam, retry_beam=retry_beam)
        aligned: dict[str, np.ndarray] = {}
        retried = 0
        for key, graph in graphs.items():
            weighted = graph.copy()
            khg.add_transition_probs(
                trans_model=self.model, transition_scale=TRANSITION_SCALE, self_loop_scale=SELF_LOOP_SCALE, fst=weighted
            )
            decodable = khg.DecodableAmDiagGmmScaled(acoustic_model, self.model, features[key], ACOUSTIC_SCALE)
            outcome = khg.align_utterance_wrapper(config, key, ACOUSTIC_SCALE, weighted, decodable, 0, 0, 0, 0.0, 0)
            retried += outcome[2]
            if outcome[0]:
                aligned[key] = np.asarray(outcome[ALIGNMENT], dtype=np.int64)
        return aligned, retried


LOG_PROBABILITIES, NON_SELF_LOOP_LOG_PROBABILITIES = 6, 7  # positions in the transition model's state


def _with_log_probabilities(model: Any, log_probabilities: np.ndarray) -> Any:
    """The same transition model with other probabilities; the library offers no setter but its own state."""
    import kaldi_hmm_gmm as khg

    state = list(model.__getstate__())
    if len(log_probabilities) != len(state[LOG_PROBABILITIES]):
        raise ValueError(f"{len(log_probabilities)} transition probabilities for {len(state[LOG_PROBABILITIES])} transitions")
    values = log_probabilities.astype(np.float64)
    loops = np.zeros(model.num_transition_states + 1)
    states = np.asarray(model.id2state)
    for transition in range(1, len(values)):
        if model.is_self_loop(transition):
            loops[states[transition]] = np.exp(values[transition])
    state[LOG_PROBABILITIES] = values.tolist()
    state[NON_SELF_LOOP_LOG_PROBABILITIES] = [0.0, *np.log(np.maximum(1.0 - loops[1:], 1e-10)).tolist()]
    restored = khg.TransitionModel.__new__(khg.TransitionModel)
    restored.__setstate__(tuple(state))
    return restored
