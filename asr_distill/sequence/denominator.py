"""The denominator: every phone sequence that the phone n-gram allows, as HMM states with senones, in one graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from asr_distill.base import UserError, hash_of_object
from asr_distill.graph.arrays import to_fst
from asr_distill.graph.hclg import compose_hclg
from asr_distill.graph.k2_form import K2Form, check_k2_form
from asr_distill.senones import SenoneInventory, check_same
from asr_distill.sequence.all_paths import form_of_all_paths
from asr_distill.sequence.phone_lm import PhoneLm


@dataclass(frozen=True, eq=False)
class Denominator:
    """A graph over senones and what it was made of.

    form: arcs with labels senone + 1, without epsilons. lm: the phone n-gram; numerators take their weights from the same one.
    """

    form: K2Form
    lm: PhoneLm
    lm_scale: float
    transition_scale: float
    self_loop_scale: float
    num_senones: int
    senones_hash: str

    def check(self, num_senones: int, senones_hash: str | None, what: str = "the model") -> None:
        """Raises `UserError` unless ``what`` has the senones of this graph, naming both hashes or the first wrong arc."""
        check_same(senones_hash, self.senones_hash, what, "the denominator graph")
        check_k2_form(self.form, num_senones, "denominator graph")

    @cached_property
    def hash(self) -> str:
        """SHA-256 over language model, scales and senones."""
        return hash_of_object(
            {
                "lm": self.lm.hash,
                "lm_scale": self.lm_scale,
                "transition_scale": self.transition_scale,
                "self_loop_scale": self.self_loop_scale,
                "senones_hash": self.senones_hash,
            }
        )

    def describe(self) -> dict[str, Any]:
        """Sizes, scales and the hash."""
        return {
            "lm_states": self.lm.num_states,
            "states": self.form.num_states,
            "arcs": len(self.form.arcs),
            "lm_scale": self.lm_scale,
            "transition_scale": self.transition_scale,
            "self_loop_scale": self.self_loop_scale,
            "hash": self.hash,
        }


def build_denominator(
    lm: PhoneLm,
    inventory: SenoneInventory,
    *,
    lm_scale: float = 1.0,
    transition_scale: float = 1.0,
    self_loop_scale: float = 0.1,
    max_arcs: int = 200_000,
) -> Denominator:
    """Expands the phone n-gram by context and HMM topology, as a decoding graph is, and minimises it.

    The scales are those of decoding graphs. Raises `UserError` where the language model has phones that the inventory lacks,
    its scale is negative or not finite, or the graph has more than ``max_arcs`` arcs: each of them costs time in every frame.
    """
    if not 0 <= lm_scale < math.inf:
        raise UserError(f"the phone language model's scale is {lm_scale:g}, expected a finite number of 0 or more")
    phones = len(inventory.topology.phones)
    if len(lm.phone) and int(lm.phone.max()) > phones:
        raise UserError(
            f"the phone language model has the phone id {int(lm.phone.max())}, the senone inventory has phones 1..{phones};"
            " estimate it on alignments made with the same lang directory"
        )
    arrays = compose_hclg(to_fst(lm.to_fst(lm_scale)), [], inventory, transition_scale, self_loop_scale)
    form = form_of_all_paths(arrays)
    if len(form.arcs) > max_arcs:
        raise UserError(
            f"the denominator graph has {len(form.arcs):,} arcs, allowed are {max_arcs:,};"
            f" its phone language model has {lm.num_states:,} states: lower --lm-order or --lm-states"
        )
    check_k2_form(form, inventory.num_senones, "denominator graph")
    scales = lm_scale, transition_scale, self_loop_scale
    return Denominator(form, lm, *scales, inventory.num_senones, inventory.hash)
