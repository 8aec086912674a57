"""Topologies against Kaldi's gen_topo, worked by hand, and the refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from asr_distill.base import UserError
from asr_distill.lang import base_phone
from asr_distill.senones import HmmState, Topology, default_topology, topology_of_lang
from asr_distill.senones.tree import root_keys


def test_silence_is_the_one_of_gen_topo() -> None:
    topology = default_topology(["SIL", "A"], ["SIL"], silence_pdf_classes=5)
    quarter = 0.25
    assert topology.states(1) == (
        HmmState(0, ((0, quarter), (1, quarter), (2, quarter), (3, quarter))),
        HmmState(1, ((1, quarter), (2, quarter), (3, quarter), (4, quarter))),
        HmmState(2, ((1, quarter), (2, quarter), (3, quarter), (4, quarter))),
        HmmState(3, ((1, quarter), (2, quarter), (3, quarter), (4, quarter))),
        HmmState(4, ((4, 0.75), (5, 0.25))),
    )
    assert topology.states(2) == tuple(HmmState(i, ((i, 0.75), (i + 1, 0.25))) for i in range(3))
    assert (topology.num_pdf_classes(1), topology.num_pdf_classes(2)) == (5, 3)


def test_tied_silence_keeps_its_states_and_transitions() -> None:
    tied, separate = (default_topology(["SIL"], ["SIL"], silence_pdf_classes=n) for n in (1, 5))
    assert [state.transitions for state in tied.states(1)] == [state.transitions for state in separate.states(1)]
    assert tied.num_pdf_classes(1) == 1


def test_shortest_passage() -> None:
    topology = default_topology(["SIL", "A"], ["SIL"])
    assert topology.min_frames(1) == 3  # 0, one of 1-3, 4
    assert topology.min_frames(2) == 3


@pytest.mark.parametrize("silence_pdf_classes", [1, 5])
def test_kaldi_reads_the_text(silence_pdf_classes: int) -> None:
    khg = pytest.importorskip("kaldi_hmm_gmm")
    topology = default_topology(["SIL", "A_B", "A_E"], ["SIL"], silence_pdf_classes=silence_pdf_classes)
    read = khg.HmmTopology()
    read.read(topology.to_kaldi_text())
    assert list(read.phones) == [1, 2, 3]
    assert [read.num_pdf_classes(phone) for phone in (1, 2, 3)] == [5, 3, 3]
    assert [read.min_length(phone) for phone in (1, 2, 3)] == [topology.min_frames(phone) for phone in (1, 2, 3)]


def test_position_suffixes() -> None:
    assert [base_phone(name) for name in ("AH_B", "AH_S", "AH", "_B", "ZH_X", "SIL")] == ["AH", "AH", "AH", "_B", "ZH_X", "SIL"]
    topology = default_topology(["SIL", "A_B", "A_E", "O_S"], ["SIL"])
    assert topology.base_phones == ("SIL", "A", "O")
    assert topology.position_dependent
    assert topology.is_silence(1)
    assert not topology.is_silence(2)
    assert not topology.is_silence(0)


def test_a_phone_that_ends_like_a_variant_is_its_own() -> None:
    """X-SAMPA's t_S is no variant of t, and M_E of no phone that is there: not every phone has a suffix."""
    topology = default_topology(["SIL", "M_E", "a", "t", "t_S"], ["SIL"])
    assert not topology.position_dependent
    assert topology.base_phones == topology.phones
    assert root_keys(topology) == [("SIL", 0), *((phone, state) for phone in ("M_E", "a", "t", "t_S") for state in range(3))]


def test_round_trip() -> None:
    topology = default_topology(["SIL", "SPN", "A_B", "A_E"], ["SIL", "SPN"])
    assert Topology.from_dict(topology.to_dict()) == topology


def step(to: int) -> tuple[tuple[int, float], ...]:
    return ((to, 1.0),)


@pytest.mark.parametrize(
    ("states", "complaint"),
    [
        ((), "no states"),
        ((HmmState(0, ((0, 0.5), (1, 0.4))),), "sum to 1"),
        ((HmmState(0, ((0, 1.5), (1, -0.5))),), "positive"),
        ((HmmState(0, step(2)),), "leads outside"),
        ((HmmState(1, step(1)),), "without gaps"),
        ((HmmState(0, step(0)),), "no way out"),
        ((HmmState(0, step(2)), HmmState(1, step(2))), "doesn't reach"),
        ((HmmState(0, ((1, 0.5), (1, 0.5))),), "twice"),
    ],
)
def test_broken_states_are_refused(states: tuple[HmmState, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Topology(("A",), (), {"A": states})


def test_broken_phone_lists_are_refused() -> None:
    with pytest.raises(UserError, match="more than once: A"):
        default_topology(["A", "A"], [])
    with pytest.raises(UserError, match="SIL are not among"):
        default_topology(["A"], ["SIL"])
    with pytest.raises(UserError, match="silence_pdf_classes is 3"):
        default_topology(["SIL"], ["SIL"], silence_pdf_classes=3)
    one, two = (HmmState(0, step(1)),), (HmmState(0, step(1)), HmmState(1, step(2)))
    with pytest.raises(UserError, match="A_E has other states"):
        Topology(("A_B", "A_E"), (), {"A_B": one, "A_E": two})


def test_from_a_lang_directory(tmp_path: Path) -> None:
    (tmp_path / "phones.txt").write_text("<eps> 0\nSIL 1\nA 2\n#0 3\n#1 4\n")
    (tmp_path / "silence.txt").write_text("SIL\n")
    assert topology_of_lang(tmp_path) == default_topology(["SIL", "A"], ["SIL"])
    (tmp_path / "phones.txt").write_text("<eps> 0\nSIL 1\n#0 2\nA 3\n")
    with pytest.raises(UserError, match="then phones, then disambiguation"):
        topology_of_lang(tmp_path)
    (tmp_path / "phones.txt").write_text("<eps> 0\nSIL 1\nA 3\n")
    with pytest.raises(UserError, match=r"ids 0\.\.2"):
        topology_of_lang(tmp_path)
    (tmp_path / "phones.txt").unlink()
    with pytest.raises(UserError, match="does not exist"):
        topology_of_lang(tmp_path)
