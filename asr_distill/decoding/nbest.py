"""The n best word sequences of a lattice, exactly, without determinising it.

A lattice of HMM states holds the same words in very many alignments, so its n best paths are mostly one word sequence, and
determinised on words it has a state for every beginning of a sentence. Here only those beginnings are made that the best
sequences need: best first, each with the costs of all lattice states that it can be in, and with what is still to come known
exactly.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable

# Beginnings of sentences looked at before the search for more gives up with what it has.
MAX_BEGINNINGS = 50_000

Arc = tuple[int, int, float]  # destination, word id or 0, cost


def nbest_of_arcs(
    arcs: Iterable[tuple[int, int, tuple[int, ...], float]], start: int, finals: dict[int, float], n: int
) -> list[tuple[tuple[int, ...], float]]:
    """Up to ``n`` different word sequences with the cost of their best path, cheapest first.

    ``arcs`` are (source, destination, word ids, cost) of an acyclic lattice whose states are numbered from 0; ``finals`` state
    to cost.
    """
    out = _adjacency(arcs, start, finals)
    order = _topological_order(out, start)
    rank = {state: position for position, state in enumerate(order)}
    to_come = _costs_to_come(out, order, finals)
    ties = itertools.count()
    found: list[tuple[tuple[int, ...], float]] = []
    # (lower bound of the total, tie, words so far, costs by state; None where the sentence is over)
    heap: list[tuple[float, int, tuple[int, ...], dict[int, float] | None]] = [(to_come[start], next(ties), (), {start: 0.0})]
    for _ in range(MAX_BEGINNINGS):
        if not heap or len(found) == n:
            break
        bound, _, words, costs = heapq.heappop(heap)
        if costs is None:
            found.append((words, bound))
            continue
        if not math.isfinite(bound):
            break
        ended, following = _after_silence(out, rank, finals, costs)
        if math.isfinite(ended):
            heapq.heappush(heap, (ended, next(ties), words, None))
        for word, reached in following.items():
            best = min(cost + to_come[state] for state, cost in reached.items())
            heapq.heappush(heap, (best, next(ties), (*words, word), reached))
    return found


def _after_silence(
    out: list[list[Arc]], rank: dict[int, int], finals: dict[int, float], costs: dict[int, float]
) -> tuple[float, dict[int, dict[int, float]]]:
    """Follows arcs without a word: (cost of ending here, costs by state after each possible next word)."""
    costs = dict(costs)
    waiting = [(rank[state], state) for state in costs]
    heapq.heapify(waiting)
    ended = math.inf
    following: dict[int, dict[int, float]] = {}
    while waiting:
        _, state = heapq.heappop(waiting)
        here = costs[state]
        if state in finals:
            ended = min(ended, here + finals[state])
        for destination, word, cost in out[state]:
            total = here + cost
            if word:
                reached = following.setdefault(word, {})
                if total < reached.get(destination, math.inf):
                    reached[destination] = total
            else:
                known = costs.get(destination)
                if known is None:
                    heapq.heappush(waiting, (rank[destination], destination))
                if known is None or total < known:
                    costs[destination] = total
    return ended, following


def _adjacency(
    arcs: Iterable[tuple[int, int, tuple[int, ...], float]], start: int, finals: dict[int, float]
) -> list[list[Arc]]:
    """Outgoing arcs by state, one word each: an arc with several words becomes a row of arcs through states of its own."""
    rows = list(arcs)
    size = 1 + max([start, *finals, *(max(source, destination) for source, destination, _, _ in rows)])
    out: list[list[Arc]] = [[] for _ in range(size)]
    for source, destination, words, cost in rows:
        for word in words[:-1]:
            out.append([])
            out[source].append((len(out) - 1, word, 0.0))
            source = len(out) - 1
        out[source].append((destination, words[-1] if words else 0, cost))
    return out


def _topological_order(out: list[list[Arc]], start: int) -> list[int]:
    """States that can be reached from the start, each before those that it leads to."""
    entering: dict[int, int] = {start: 0}
    stack = [start]
    while stack:
        for destination, _, _ in out[stack.pop()]:
            if destination not in entering:
                entering[destination] = 0
                stack.append(destination)
            entering[destination] += 1
    order = [start]
    for state in order:
        for destination, _, _ in out[state]:
            entering[destination] -= 1
            if not entering[destination]:
                order.append(destination)
    return order


def _costs_to_come(out: list[list[Arc]], order: list[int], finals: dict[int, float]) -> list[float]:
    """By state, the least cost from there to the end."""
    costs = [math.inf] * len(out)
    for state in reversed(order):
        best = finals.get(state, math.inf)
        for destination, _, cost in out[state]:
            best = min(best, cost + costs[destination])
        costs[state] = best
    return costs
