"""Senones: HMM topology, state alignments, the phonetic decision tree over them, the inventory and its priors.

Phone alignments and features come in; an inventory (``senones.json``), frame labels and priors go out.
Open ``topology.py`` first, then ``tree.py`` for the structure and ``growing.py`` for how it is grown.
"""

from asr_distill.senones.frame_alignment import FrameAlignment, context_windows, read_alignments, write_alignments
from asr_distill.senones.inventory import SenoneInventory, check_same
from asr_distill.senones.priors import SenonePriors
from asr_distill.senones.topology import HmmState, Topology, base_phone, default_topology
from asr_distill.senones.tree import BOUNDARY, Leaf, PhoneticTree, Split, monophone_tree

__all__ = [
    "BOUNDARY",
    "FrameAlignment",
    "HmmState",
    "Leaf",
    "PhoneticTree",
    "SenoneInventory",
    "SenonePriors",
    "Split",
    "Topology",
    "base_phone",
    "check_same",
    "context_windows",
    "default_topology",
    "monophone_tree",
    "read_alignments",
    "write_alignments",
]
