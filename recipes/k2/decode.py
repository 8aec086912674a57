"""Decodes recordings with a student in k2. Of this toolkit only `Student` is used: the graph is read as plain tensors.

python recipes/k2/decode.py exp/an4/models/distilled/seed0 exp/an4/graph/senones/bigram_1.0_0.0 one.wav two.wav
"""

import itertools
import json
import sys
from pathlib import Path

import k2
import torch
from safetensors.torch import load_file

from asr_distill.student import Student

bundle, graph, *recordings = sys.argv[1:]
student = Student.load(bundle)
student.check_senones(json.loads(Path(graph, "graph.json").read_text())["senones_hash"], graph)

form = load_file(Path(graph, "HCLG.k2.safetensors"))  # arcs: source, destination, senone + 1; the scores are logarithms
hclg = k2.Fsa(torch.cat([form["arcs"], form["scores"].view(torch.int32)[:, None]], 1))
hclg.aux_labels = form["aux"]  # a word, or above the last word a sequence of words that one arc writes
names = [line.split()[0] for line in Path(graph, "words.txt").read_text(encoding="utf-8").splitlines()]
starts = form["sequence_offsets"].tolist()
sequences = [form["sequence_words"][a:b].tolist() for a, b in itertools.pairwise(starts)]

scores = [student.log_likelihoods(path) for path in recordings]  # resampled to the bundle's rate
dense = student.dense_fsa_vec(scores, acoustic_scale=student.acoustic_scale or 0.1)
lattice = k2.intersect_dense_pruned(
    hclg, dense, search_beam=20.0, output_beam=8.0, min_active_states=30, max_active_states=10000
)
best = k2.shortest_path(lattice, use_double_scores=True)
for index, path in enumerate(recordings):
    aux = [label for label in best[index].aux_labels.tolist() if label > 0]
    words = [word for label in aux for word in ([label] if label < len(names) else sequences[label - len(names)])]
    print(path, " ".join(names[word] for word in words))
