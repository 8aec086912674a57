"""Senones: HMM topology, state alignments, the phonetic decision tree over them, the inventory and its priors.

Phone alignments and features come in; an inventory (``senones.json``), frame labels and priors go out.
Open ``topology.py`` first, then ``tree.py`` for the structure and ``growing.py`` for how it is grown.
"""

from asr_distill.senones.frame_alignment import FrameAlignment, context_windows, read_alignments, write_alignments
from asr_distill.senones.growing import GrowthReport, check_num_leaves, grow_tree, leaves_for
from asr_distill.senones.inventory import SenoneInventory, check_same
from asr_distill.senones.labels import LabelReport, read_label_arrays, write_labels
from asr_distill.senones.priors import SenonePriors
from asr_distill.senones.questions import Questions, cluster_phone_questions
from asr_distill.senones.statistics import TreeStatistics, accumulate_triphone_statistics
from asr_distill.senones.topology import HmmState, Topology, default_topology, topology_of_lang
from asr_distill.senones.tree import BOUNDARY, Leaf, PhoneticTree, Split, monophone_tree

__all__ = [
    "BOUNDARY",
    "FrameAlignment",
    "GrowthReport",
    "HmmState",
    "LabelReport",
    "Leaf",
    "PhoneticTree",
    "Questions",
    "SenoneInventory",
    "SenonePriors",
    "Split",
    "Topology",
    "TreeStatistics",
    "accumulate_triphone_statistics",
    "check_num_leaves",
    "check_same",
    "cluster_phone_questions",
    "context_windows",
    "default_topology",
    "grow_tree",
    "leaves_for",
    "monophone_tree",
    "read_alignments",
    "read_label_arrays",
    "topology_of_lang",
    "write_alignments",
    "write_labels",
]
