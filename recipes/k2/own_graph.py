"""Your lexicon, your G, as icefall has them: words from plain k2 graphs and a student; no lang directory, no graph folder.

python -m kaldilm --read-symbol-table words.txt --disambig-symbol '#0' --max-order 3 lm.arpa > G.fst.txt
python recipes/k2/own_graph.py exp/an4/models/distilled/seed0 lexicon.txt words.txt G.fst.txt one.wav two.wav
"""

import math
import sys
from pathlib import Path

import k2
from lhotse import Recording

from asr_distill.student import Student

bundle, lexicon, table, grammar, *recordings = sys.argv[1:]
student = Student.load(bundle)  # student.senone("K", "AE", "T", 1): the output for the middle state of AE between K and T
entries = [line.split() for line in Path(lexicon).read_text(encoding="utf-8").splitlines() if line.strip()]  # WORD PHONE ...
words = {name: int(number) for name, number in map(str.split, Path(table).read_text(encoding="utf-8").splitlines())}
phones = {name: number for number, name in enumerate(["<eps>", *student.inventory.topology.phones, "#0"])}

half = -math.log(0.5)  # of silence at the start and after each word; state 1 is between words, 2 before a silence
arcs = [(0, 1, "<eps>", "<eps>", half), (0, 1, "SIL", "<eps>", half), (1, 1, "#0", "#0", 0), (2, 1, "SIL", "<eps>", 0)]
state = 3
for number, (word, *pronunciation) in enumerate(entries, 1):
    phones[f"#{number}"] = len(phones)  # a symbol for each entry tells words apart that sound alike
    arcs.append((1, state, pronunciation[0], word, 0))
    arcs += [(state + n, state + n + 1, phone, "<eps>", 0) for n, phone in enumerate(pronunciation[1:])]
    state += len(pronunciation)
    arcs += [(state - 1, end, f"#{number}", "<eps>", half) for end in (1, 2)]
text = "".join(f"{a} {b} {phones[phone]} {words[word]} {cost}\n" for a, b, phone, word, cost in sorted(arcs)) + "1 0\n"

l_fsa, g_fsa = (k2.Fsa.from_openfst(fst, acceptor=False) for fst in (text, Path(grammar).read_text(encoding="utf-8")))
lg = k2.connect(k2.compose(k2.arc_sort(l_fsa), k2.arc_sort(g_fsa)))
hclg = student.graph(lg, phones)  # determinised, with contexts and HMM states; labels are senone + 1
names = {number: name for name, number in words.items()}

for path in recordings:
    dense = student.dense_fsa_vec([student.log_likelihoods(Recording.from_file(path))])
    lattice = k2.intersect_dense_pruned(hclg, dense, 20.0, 8.0, 30, 10000)
    best = k2.shortest_path(lattice, use_double_scores=True)[0]
    print(path, " ".join(names[word] for row in best.aux_labels.tolist() for word in row if word > 0))
