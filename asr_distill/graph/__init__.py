"""Decoding graphs: lang directory, G and senone inventory come in; HCLG for OpenFst and for k2 goes out, in one folder.

Open ``hclg.py`` first for the order of the steps, then ``hmm.py`` (H and self-loops) and ``epsilon.py`` (why k2 needs none).
"""

from asr_distill.graph.expansion import senone_graph
from asr_distill.graph.graph import Graph, load_graph
from asr_distill.graph.hclg import build_hclg
from asr_distill.graph.phone_loop import phone_loop_graph

__all__ = ["Graph", "build_hclg", "load_graph", "phone_loop_graph", "senone_graph"]
