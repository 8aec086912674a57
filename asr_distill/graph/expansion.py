"""A graph of the user's own: from phones and words in a `k2.Fsa`, such as icefall's LG, to senones and words in another.

`build_hclg` does the same for a lang directory and writes a folder; here nothing of ours but the senone inventory is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_distill.base import UserError, missing_package
from asr_distill.graph.arrays import FstArrays, to_fst
from asr_distill.graph.epsilon import WordSequences
from asr_distill.graph.graph import is_disambiguation
from asr_distill.graph.hclg import compose_hclg
from asr_distill.graph.k2_form import K2Form, check_k2_form, to_k2_form

if TYPE_CHECKING:
    from asr_distill.senones.inventory import SenoneInventory


def senone_graph(
    lg: Any,
    phones: Mapping[str, int],
    inventory: SenoneInventory,
    *,
    transition_scale: float = 1.0,
    self_loop_scale: float = 0.1,
) -> Any:
    """Expands context and HMM states: H o C o LG as a `k2.Fsa` that `k2.intersect_dense_pruned` takes.

    Args:
      lg: a `k2.Fsa` whose labels are phones: L o G, one word's phones, or a phone sequence. ``aux_labels``, a tensor or ragged,
        are kept; without them nothing is written. Disambiguation symbols must still be there where two words sound alike.
      phones: the number of each symbol that ``lg`` may read, the user's own numbering: ``<eps>`` 0, phones by the names that
        the inventory has for them, ``#0``, ``#1``, ... A part of the inventory's phones is enough.
      transition_scale, self_loop_scale: of the logarithms of the HMM's transition probabilities, as in `build_hclg`.

    Returns:
      A `k2.Fsa`: labels senone + 1, no epsilons, ragged ``aux_labels`` without zeros.

    Raises `UserError` where k2 is not installed, ``lg`` reads a symbol that is neither in ``phones`` nor a phone of the
    inventory, it is empty, or it cannot be determinised.
    """
    written = _written(lg)
    words = WordSequences(max((word for row in written for word in row), default=1))
    olabel = np.array([words.number(row) for row in written], np.int32)
    given = _as_arrays(lg, _labels(phones, inventory), olabel)
    first = len(inventory.topology.phones) + 1
    symbols = [first + index for index in range(sum(map(is_disambiguation, phones)))]
    hclg = compose_hclg(to_fst(given), symbols, inventory, transition_scale, self_loop_scale)
    form = to_k2_form(hclg, words.num_words + len(words.sequences))
    check_k2_form(form, inventory.num_senones, "the expanded graph")
    return _as_fsa(form, words)


def _labels(phones: Mapping[str, int], inventory: SenoneInventory) -> dict[int, int]:
    """From the user's numbers to the inventory's; disambiguation symbols follow its phones, in the user's order."""
    names = {name: number for number, name in enumerate(inventory.topology.phones, 1)}
    symbols = sorted(filter(is_disambiguation, phones), key=lambda name: phones[name])
    names |= {name: len(names) + 1 + index for index, name in enumerate(symbols)}
    return {0: 0, -1: -1} | {number: names[name] for name, number in phones.items() if name in names}


def _written(lg: Any) -> list[tuple[int, ...]]:
    """What each arc writes, from aux_labels that are a tensor, ragged or absent."""
    aux = getattr(lg, "aux_labels", None)
    if aux is None:
        return [()] * lg.num_arcs
    if not hasattr(aux, "tolist"):
        raise UserError(f"aux_labels are a {type(aux).__name__}, expected a tensor or a k2.RaggedTensor")
    rows = (row if isinstance(row, list) else [row] for row in aux.tolist())
    return [tuple(word for word in row if word > 0) for row in rows]


def _as_arrays(lg: Any, labels: Mapping[int, int], olabel: np.ndarray) -> FstArrays:
    source, destination, label = lg.arcs.values()[:, :3].cpu().numpy().astype(np.int32).T
    if not len(source):
        raise UserError("the graph to expand has no arcs; do the lexicon and G share words? (k2.connect removes dead ends)")
    known = np.isin(label, list(labels))
    if not known.all():
        found = ", ".join(map(str, np.unique(label[~known])[:5]))
        raise UserError(
            f"the graph to expand reads the symbols {found}, which `phones` does not name, or not as a phone of the inventory:"
            " give every phone under the inventory's name for it (student.inventory.topology.phones)"
        )
    numbers, inverse = np.unique(label, return_inverse=True)
    label = np.array([labels[int(number)] for number in numbers], np.int32)[inverse.reshape(-1)]
    weight = -lg.scores.detach().cpu().numpy().astype(np.float32)
    ends = label == -1
    final = np.full(int(max(source.max(), destination.max())) + 1, np.inf, np.float32)
    if (olabel[ends] > 0).any():
        raise UserError("the graph to expand writes words on arcs into its final state, where nothing is read")
    np.minimum.at(final, source[ends], weight[ends])
    inner = ~ends
    return FstArrays(0, source[inner], destination[inner], label[inner], olabel[inner], weight[inner], final)


def _as_fsa(form: K2Form, words: WordSequences) -> Any:
    try:
        import k2
    except ImportError:
        raise missing_package("k2", "a graph for k2") from None
    import torch

    fsa = form.to_fsa()
    written = [[-1] if aux < 0 else [w for n in form.words_of(int(aux)) for w in words.words(n)] for aux in form.aux]
    splits = np.concatenate(([0], np.cumsum([len(row) for row in written]))).astype(np.int32)
    shape = k2.ragged.create_ragged_shape2(torch.from_numpy(splits), None, int(splits[-1]))
    values = torch.tensor([word for row in written for word in row], dtype=torch.int32)
    fsa.aux_labels = k2.RaggedTensor(shape, values)
    return fsa
