"""HCLG: from lexicon, language model and senones to a search graph, in the order that Kaldi showed to work."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr_distill.base import UserError, atomic_directory, check_replaceable, has_file, read_json, write_json, write_text
from asr_distill.graph.arrays import FstArrays, from_fst, to_fst
from asr_distill.graph.graph import FST_NAME, INFO_NAME, K2_NAME, LANG_NAME, Graph, is_disambiguation
from asr_distill.graph.hmm import add_self_loops, build_h
from asr_distill.graph.k2_form import check_k2_form, to_k2_form
from asr_distill.graph.labels import read_grammar, read_lexicon_fst, table_hash
from asr_distill.lang import Lang
from asr_distill.lang.layout import write_pronunciations
from asr_distill.lang.openfst import write_fst
from asr_distill.lang.symbols import read_symbols

if TYPE_CHECKING:
    from asr_distill.senones.inventory import SenoneInventory

_log = logging.getLogger("asr_distill")
# Weights nearer than this count as equal. OpenFst's default of 2**-10 also rounds every weight to that grid in minimisation,
# which adds up along a path of hundreds of arcs; at 2**-13 the graphs are hardly larger.
_DELTA = 2.0**-13
_MAX_STATES = 20_000_000


def build_hclg(
    lang_dir: str | Path,
    g_fst_path: str | Path,
    inventory: SenoneInventory,
    out_dir: str | Path,
    *,
    g_words: str | Path | None = None,
    transition_scale: float = 1.0,
    self_loop_scale: float = 0.1,
) -> Graph:
    """Composes H, C, L and G and writes the graph folder: HCLG.fst, HCLG.k2.safetensors, words.txt, senones.json, graph.json.

    The words of G are those of `asr_distill.graph.labels.read_grammar`; ``g_words``: the words.txt that it was made with.
    Input labels are senone + 1, output labels word ids. ``transition_scale`` scales the log-probabilities of leaving
    transitions, ``self_loop_scale`` those of staying or leaving. Raises `UserError` where G and the lexicon do not share
    words, LG cannot be determinised, or the phones of the lang directory are not those of the inventory.
    """
    check_replaceable(out_dir, kind=INFO_NAME)
    lang_dir, g_fst_path = Path(lang_dir), Path(g_fst_path)
    # Loading checks its tables and lexicon against the hash in lang.json; a lang directory of Kaldi's has none.
    lang = Lang.load(lang_dir) if has_file(lang_dir / "lang.json") else None
    phones = read_symbols(lang_dir / "phones.txt")
    check_phones(phones, inventory, lang_dir)
    disambiguation = sorted(number for phone, number in phones.items() if is_disambiguation(phone))
    words = read_symbols(lang_dir / "words.txt")
    clock = Clock()
    lexicon = read_lexicon_fst(lang_dir / "L_disambig.fst", phones, words)
    grammar = read_grammar(g_fst_path, words, g_words)
    lg = compose_lg(to_fst(lexicon), to_fst(grammar))
    clock.stop("LG")
    description = {
        "units": "words",
        "kind": lang.kind if lang else None,
        "lang_hash": lang.hash if lang else None,
        **_described_g(g_fst_path),
        "transition_scale": transition_scale,
        "self_loop_scale": self_loop_scale,
    }
    return expand_and_write(lg, disambiguation, inventory, words, Path(out_dir), description, clock, lang)


def expand_and_write(
    lg: Any,
    disambiguation: Sequence[int],
    inventory: SenoneInventory,
    words: dict[str, int],
    out_dir: Path,
    description: dict[str, Any],
    clock: Clock | None = None,
    lang: Lang | None = None,
) -> Graph:
    """From LG (phones in, words out) to the finished folder; shared by word graphs and phone loops."""
    clock = clock or Clock()
    sizes = {"LG": from_fst(lg).describe()}
    scales = description["transition_scale"], description["self_loop_scale"]
    hclg = compose_hclg(lg, disambiguation, inventory, *scales)
    clock.stop("HCLG")
    return write_graph(hclg, inventory, words, out_dir, {**description, "sizes": sizes}, clock, lang)


def write_graph(
    hclg: FstArrays,
    inventory: SenoneInventory,
    words: dict[str, int],
    out_dir: str | Path,
    description: dict[str, Any],
    clock: Clock | None = None,
    lang: Lang | None = None,
) -> Graph:
    """Makes the k2 form of a finished graph (senone + 1 to words), checks it and writes the folder, whole or not at all.

    lang: whose dictionary words go into ``lang/``: with their pronunciations, hypotheses can be aligned.
    """
    clock, out_dir = clock or Clock(), Path(out_dir)
    form = to_k2_form(hclg, max(words.values()))
    check_k2_form(form, inventory.num_senones, str(out_dir))
    clock.stop("k2 form")
    k2_sizes = {"states": form.num_states, "arcs": len(form.arcs), "word_sequences": len(form.sequences)}
    with atomic_directory(out_dir, kind=INFO_NAME) as folder:
        write_fst(to_fst(hclg), folder / FST_NAME, out_dir / FST_NAME)
        form.save(folder / K2_NAME)
        write_text(folder / "words.txt", "".join(f"{word} {number}\n" for word, number in words.items()))
        inventory.save(folder / "senones.json")
        if lang is not None and lang.kind == "phones":
            (folder / LANG_NAME).mkdir()
            write_pronunciations(lang, folder / LANG_NAME)
        clock.stop("write")
        info = {
            **description,
            "num_senones": inventory.num_senones,
            "num_words": sum(not _is_marker(word) for word in words),
            "senones_hash": inventory.hash,
            "words_hash": table_hash(words),
            "senones_in_graph": len(np.unique(form.arcs[form.arcs[:, 2] > 0, 2])),
            "sizes": {**description.get("sizes", {}), "HCLG": hclg.describe(), "k2": k2_sizes},
            "seconds": clock.seconds,
        }
        write_json(folder / INFO_NAME, info)
    graph = Graph(out_dir)
    _log.info("%s", graph.describe())
    return graph


def compose_lg(lexicon: Any, grammar: Any) -> Any:
    """min(det(L o G)) with disambiguation symbols still in place; kaldifst FST."""
    import kaldifst

    kaldifst.arcsort(lexicon, "olabel")
    kaldifst.arcsort(grammar, "ilabel")
    lg = kaldifst.StdVectorFst(kaldifst.compose(lexicon, grammar))
    if lg.start < 0:
        raise UserError(
            "L o G is empty: no sentence of G can be made from the lexicon; do G and L come from the same words.txt?"
        )
    _determinize(lg, "LG", "two pronunciations cannot be told apart: L_disambig needs a disambiguation symbol there")
    kaldifst.minimize_encoded(lg, _DELTA)
    return lg


def compose_hclg(
    lg: Any, disambiguation: Sequence[int], inventory: SenoneInventory, transition_scale: float, self_loop_scale: float
) -> FstArrays:
    """Context, HMM states, determinisation, minimisation, self-loops: LG to HCLG with senone + 1 on the input side."""
    import kaldifst

    width = 3 if inventory.tree.context_width == 3 else 1
    kaldifst.arcsort(lg, "ilabel")
    context, windows = kaldifst.compose_context(list(disambiguation), width, width // 2, lg)
    h = build_h(windows, inventory, transition_scale=transition_scale)
    clg = from_fst(context)
    clg.ilabel = h.representative[clg.ilabel]
    right, left = to_fst(clg), to_fst(h.arrays)
    kaldifst.arcsort(left, "olabel")
    kaldifst.arcsort(right, "ilabel")
    composed = kaldifst.StdVectorFst(kaldifst.compose(left, right))
    if composed.start < 0:
        raise UserError("H o CLG is empty: no path through the HMMs reaches the end of a sentence; check the topology")
    _determinize(composed, "HCLG", "a disambiguation symbol is missing in L_disambig or in G")
    arrays = from_fst(composed)
    arrays.ilabel = np.where(arrays.ilabel > len(h.classes), 0, arrays.ilabel).astype(np.int32)
    without_symbols = to_fst(skip_epsilon_states(arrays))
    kaldifst.connect(without_symbols)
    kaldifst.minimize_encoded(without_symbols, _DELTA)
    return add_self_loops(from_fst(without_symbols), h.classes, self_loop_scale)


def skip_epsilon_states(fst: FstArrays) -> FstArrays:
    """Arcs into a state that only has one arc, reading and writing nothing, go straight on: most disambiguation arcs vanish
    so."""
    out = np.bincount(fst.source, minlength=fst.num_states)
    through = np.flatnonzero(
        (fst.ilabel == 0) & (fst.olabel == 0) & (out[fst.source] == 1) & ~np.isfinite(fst.final[fst.source])
    )
    through = through[fst.source[through] != fst.destination[through]]
    target, cost = np.arange(fst.num_states), np.zeros(fst.num_states)
    target[fst.source[through]], cost[fst.source[through]] = fst.destination[through], fst.weight[through]
    for _ in range(int(np.log2(max(len(through), 1))) + 1):  # pointer jumping: chains halve in every round
        cost = cost + np.where(target == np.arange(len(target)), 0.0, cost[target])
        target = target[target]
    return FstArrays(
        start=fst.start,
        source=fst.source,
        destination=target[fst.destination].astype(np.int32),
        ilabel=fst.ilabel,
        olabel=fst.olabel,
        weight=(fst.weight + cost[fst.destination]).astype(np.float32),
        final=fst.final,
    )


def check_phones(table: dict[str, int], inventory: SenoneInventory, lang_dir: Path) -> None:
    """Raises `UserError` unless the real phones of the symbol table are those of the inventory, with the same numbers."""
    real = sorted((number, phone) for phone, number in table.items() if number > 0 and not is_disambiguation(phone))
    found = tuple(phone for _, phone in real)
    if found != tuple(inventory.topology.phones) or [number for number, _ in real] != list(range(1, len(real) + 1)):
        only_lang = sorted(set(found) - set(inventory.topology.phones))
        only_senones = sorted(set(inventory.topology.phones) - set(found))
        raise UserError(
            f"{lang_dir / 'phones.txt'} has {len(found)} phones, the senone inventory {len(inventory.topology.phones)}, and"
            f" they must be the same with the same numbers (only in lang: {only_lang[:5]}, only in senones:"
            f" {only_senones[:5]}); next: build the graph with the lang directory that the alignment was made with"
        )


class Clock:
    """Seconds since the last stop, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def stop(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def _determinize(fst: Any, name: str, reason: str) -> None:
    import kaldifst

    # In the log semiring, as Kaldi does, the weights move towards the start as probabilities would: the beam sees the language
    # model early.
    try:
        stopped_early = kaldifst.determinize_star(fst, _DELTA, _MAX_STATES, True)
    except RuntimeError as error:
        raise UserError(f"{name} cannot be determinised ({str(error).splitlines()[-1]}): {reason}") from None
    if stopped_early:
        raise UserError(f"{name} cannot be determinised within {_MAX_STATES:,} states: {reason}")
    if fst.start < 0:
        raise UserError(f"{name} is empty after determinisation: {reason}")


def _described_g(path: Path) -> dict[str, Any]:
    """What the file beside G says of how it was made."""
    beside = path.with_suffix(".json")
    facts = read_json(beside) if has_file(beside) else {}
    facts = facts if isinstance(facts, dict) else {}
    return {"g": path.name, **{name: facts.get(name) for name in ("arpa", "lm_scale", "word_penalty")}}


def _is_marker(word: str) -> bool:
    return word in ("<eps>", "<s>", "</s>") or is_disambiguation(word)
