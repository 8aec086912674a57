"""Phone loops: the bigram by hand, and what the loop accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asr_distill.base import UserError
from asr_distill.graph import build_hclg, load_graph, phone_loop_graph
from asr_distill.graph.phone_loop import bigram
from asr_distill.senones.inventory import SenoneInventory
from asr_distill.senones.topology import default_topology
from asr_distill.senones.tree import monophone_tree


def test_bigram_by_hand() -> None:
    # "0 1" once, two phones: counts of 0, 1, end are 1, 1, 1, so the unigram is a third each
    table = bigram([np.array([0, 1])], 2)
    np.testing.assert_allclose(table.sum(1), 1.0)
    assert table[0, 1] == pytest.approx((1 + 1 / 3) / 2)  # one follower of 0, of one kind
    assert table[0, 0] == pytest.approx((1 / 3) / 2)
    assert table[2, 0] == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("counts", [[], [np.array([0, 0, 2])], [np.array([1]), np.array([2, 1, 0])]])
def test_bigram_rows_are_distributions(counts) -> None:
    table = bigram(counts, 3)
    np.testing.assert_allclose(table.sum(1), 1.0)
    assert (table > 0).all()


def loop(tmp_path: Path, phones: tuple[str, ...], sequences=None):
    lang = tmp_path / "lang"
    lang.mkdir()
    (lang / "phones.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(("<eps>", *phones, "#0"))))
    topology = default_topology(phones, ("SIL",), silence_pdf_classes=1)
    inventory = SenoneInventory(topology, monophone_tree(topology))
    return phone_loop_graph(lang, inventory, tmp_path / "graph", phone_sequences=sequences), inventory


def test_silence_is_searched_but_not_written(tmp_path: Path) -> None:
    graph, inventory = loop(tmp_path, ("SIL", "A", "B"))
    assert graph.units == "phones"
    assert sorted(graph.words.values()) == ["<eps>", "A", "B"]
    assert set(graph.k2_form.arcs[:, 2]) == {-1, *range(1, inventory.num_senones + 1)}
    assert load_graph(graph.path).describe() == graph.describe()


def test_word_positions_make_words(tmp_path: Path) -> None:
    phones = ("SIL", "A_B", "A_E", "A_I", "A_S")
    graph, _ = loop(tmp_path, phones, [np.array([1, 2, 3])])
    assert sorted(graph.words.values()) == ["<eps>", "A"]


def test_a_phone_that_ends_like_a_variant_is_written_as_itself(tmp_path: Path) -> None:
    graph, inventory = loop(tmp_path, ("SIL", "t", "t_S"), [np.array([1, 2, 3])])
    assert sorted(graph.words.values()) == ["<eps>", "t", "t_S"]
    assert inventory.num_senones == 1 + 3 + 3


def test_phone_ids_of_another_inventory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds ids 1\.\.9"):
        loop(tmp_path, ("SIL", "A", "B"), [np.array([1, 9])])


def test_other_phones_in_lang_are_refused(small_world, tmp_path: Path) -> None:
    (small_world.lang / "phones.txt").write_text("<eps> 0\nSIL 1\nA 2\nC 3\n#0 4\n")
    with pytest.raises(UserError, match=r"only in lang: \['.*C'\], only in senones: \['.*B"):
        build_hclg(small_world.lang, small_world.grammar, small_world.inventory, tmp_path / "graph")
    assert not (tmp_path / "graph").exists()


def test_graph_of_other_senones_is_refused(small_world, tmp_path: Path) -> None:
    graph = build_hclg(small_world.lang, small_world.grammar, small_world.inventory, tmp_path / "graph")
    with pytest.raises(UserError, match="was built for senones"):
        graph.check(graph.num_senones, "0" * 64)
    with pytest.raises(UserError, match="not in the model, which has senones 0 to 2"):
        graph.check(3, graph.senones_hash)
    graph.check(graph.num_senones, graph.senones_hash)
