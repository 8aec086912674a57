"""Rescores the word sequences of a k2 lattice by a larger language model: first pass with any graph, second with an ARPA file.

python recipes/k2/rescore.py exp/an4/models/distilled/seed0 exp/an4/graph/senones/uniform_1.0_0.0 exp/an4/lang/uniform.arpa \
    exp/an4/lang/bigram.arpa 1.0 one.wav two.wav
"""

import math
import sys

import torch

from asr_distill.decoding import K2Decoder
from asr_distill.graph import load_graph
from asr_distill.lang import Arpa
from asr_distill.student import Student

bundle, graph, small, large, scale, *recordings = sys.argv[1:]
student, hclg = Student.load(bundle), load_graph(graph)
student.check_senones(hclg.senones_hash, graph)
first_pass, second_pass = Arpa.read(small), Arpa.read(large)
lacking = [word for word in first_pass.words if word not in second_pass]
if lacking and second_pass.unknown_word is None:
    sys.exit(
        f"{large} lacks {len(lacking)} words of {small} and has no <unk> to stand for them: {', '.join(lacking[:10])}; next:"
        " asr-distill lang ngram --lang LANG ..., which is estimated over all words of a lang directory"
    )
decoder = K2Decoder(hclg, nbest=100)  # the 100 best different word sequences of the lattice

scores = [student.log_likelihoods(path) for path in recordings]  # resampled to the bundle's rate
lengths = torch.tensor([len(row) for row in scores])
padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True) * (student.acoustic_scale or 0.1)


def total(hypothesis) -> float:
    """The path's score with the small model's share of it replaced by the large model's, in nats."""
    words = hypothesis.words
    change = second_pass.sentence_log10_probability(words) - first_pass.sentence_log10_probability(words)
    return hypothesis.score + float(scale) * math.log(10) * change


for path, result in zip(recordings, decoder.decode(padded, lengths), strict=True):
    best = max(result.nbest, key=total)
    print(path, " ".join(best.words), f"(first pass: {' '.join(result.words)})")
