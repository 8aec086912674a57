"""The n best word sequences of a lattice, exactly: determinised on words, then n shortest paths."""

from __future__ import annotations

from collections.abc import Iterable

# A lattice that grows past this when its word sequences are told apart is cut off there, and the best path alone is returned.
MAX_STATES = 200_000


def nbest_of_arcs(
    arcs: Iterable[tuple[int, int, tuple[int, ...], float]], start: int, finals: dict[int, float], n: int
) -> list[tuple[tuple[int, ...], float]]:
    """Up to ``n`` different word sequences with the cost of their best path, cheapest first.

    ``arcs`` are (source, destination, word ids, cost) of an acyclic lattice whose states are numbered from 0; ``finals`` state
    to cost.
    """
    import kaldifst

    fst = kaldifst.StdVectorFst()

    def state(number: int) -> int:
        while fst.num_states <= number:
            fst.add_state()
        return number

    rows = list(arcs)
    for source, destination, _, _ in rows:
        state(max(source, destination))
    state(max([start, *finals]))
    for source, destination, words, cost in rows:
        here = source
        for word in words[:-1]:
            following = fst.add_state()
            fst.add_arc(here, kaldifst.StdArc(word, word, 0.0, following))
            here = following
        last = words[-1] if words else 0
        fst.add_arc(here, kaldifst.StdArc(last, last, float(cost), destination))
    fst.start = start
    for number, cost in finals.items():
        fst.set_final(number, float(cost))
    # Only the best of equal word sequences counts, so the tropical semiring, not the log semiring.
    if kaldifst.determinize_star(fst, 2.0**-10, MAX_STATES, False) or fst.start < 0:
        return []
    found = []
    for path in kaldifst.convert_nbest_to_vector(kaldifst.shortest_path(fst, n=n)):
        _, words, _, weight = kaldifst.get_linear_symbol_sequence(path)
        found.append((tuple(words), float(weight.value)))
    return sorted(found, key=lambda pair: pair[1])
