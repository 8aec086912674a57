"""Both engines on real recordings, AN4's dictionary and its uniform language model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr_distill.decoding import K2Decoder, KaldiDecoder
from asr_distill.features import Fbank40
from asr_distill.graph import Graph, build_hclg
from asr_distill.lang import Lang, Lexicon, build_g, write_g
from asr_distill.senones import SenoneInventory, monophone_tree, topology_of_lang


@pytest.fixture(scope="module")
def graph(an4_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    folder = tmp_path_factory.mktemp("an4")
    lang = Lang.build(Lexicon.read(an4_dir / "etc" / "an4.dic"), folder / "lang")
    write_g(build_g(an4_dir / "etc" / "an4.ug.lm", lang.words), folder / "G.fst")
    topology = topology_of_lang(folder / "lang")
    return build_hclg(folder / "lang", folder / "G.fst", SenoneInventory(topology, monophone_tree(topology)), folder / "graph")


@pytest.mark.skipif(importlib.util.find_spec("k2") is None, reason="k2 is not installed")
def test_engines_find_the_same_best_path(an4_dir: Path, graph: Graph) -> None:
    """The scores are a random linear map of real filterbanks: no model, but as correlated in time as a model's."""
    recordings = sorted(an4_dir.glob("wav/an4test_clstk/fcaw/*"))[:6]
    features = [torch.from_numpy(Fbank40().extract(*soundfile.read(path, dtype="float32"))) for path in recordings]
    assert len(features) == 6
    weights = torch.randn(40, graph.num_senones, generator=torch.Generator().manual_seed(1))
    scores = [torch.log_softmax((f - f.mean(0)) @ weights * 0.3, 1) for f in features]
    lengths = torch.tensor([len(row) for row in scores])
    assert len(set(lengths.tolist())) > 1
    padded = torch.nn.utils.rnn.pad_sequence(scores, batch_first=True)
    by_k2 = K2Decoder(graph, search_beam=100, output_beam=10, max_active=100_000).decode(padded, lengths)
    by_kaldi = KaldiDecoder(graph, beam=100, max_active=1_000_000).decode(padded, lengths)
    for one, other, length in zip(by_k2, by_kaldi, lengths.tolist(), strict=True):
        assert one.reached_final
        assert other.reached_final
        assert one.score == pytest.approx(other.score, rel=1e-3)
        assert len(one.words) == len(
            other.words
        )  # not the words: O and OH sound alike, and this language model finds both as likely
        assert len(one.words) > 0
        assert len(one.senones) == len(other.senones) == length
        assert np.mean(one.senones == other.senones) > 0.99
