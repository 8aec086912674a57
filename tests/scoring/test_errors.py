"""Counts against a dynamic programme written here, from the definition; the listing against a block written by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_distill.scoring import ErrorCounts, Utterance, align_words, aligned_listing, count_errors

WORDS = st.lists(st.sampled_from("a b c ** é 字 -1".split()), max_size=12)


def edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein's distance by the textbook recursion, row by row."""
    row = list(range(len(hypothesis) + 1))
    for i, left in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(hypothesis, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


def test_a_thousand_random_pairs_agree_with_an_independent_edit_distance() -> None:
    generator = random.Random(7)
    total = 0
    for _ in range(1000):
        vocabulary = "abcdefghij"[: generator.randint(1, 10)]
        reference = generator.choices(vocabulary, k=generator.randint(0, 20))
        hypothesis = generator.choices(vocabulary, k=generator.randint(0, 20))
        counts = count_errors(reference, hypothesis)
        assert counts.errors == edit_distance(reference, hypothesis)
        assert counts.words == len(reference)
        assert counts.correct + counts.substitutions + counts.insertions == len(hypothesis)
        total += counts.errors
    assert total > 1000


@given(WORDS, WORDS)
def test_an_alignment_spells_both_sides(reference: list[str], hypothesis: list[str]) -> None:
    pairs = align_words(reference, hypothesis)
    assert [left for left, _ in pairs if left is not None] == reference
    assert [right for _, right in pairs if right is not None] == hypothesis
    assert (None, None) not in pairs


@given(WORDS)
def test_a_missing_hypothesis_is_all_deletions(reference: list[str]) -> None:
    assert count_errors(reference, None) == ErrorCounts(deletions=len(reference))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c d", "a x c d e", ErrorCounts(correct=3, insertions=1, deletions=0, substitutions=1)),
        ("a b c", "a c", ErrorCounts(correct=2, deletions=1)),
        ("", "a b", ErrorCounts(insertions=2)),
        ("", "", ErrorCounts()),
    ],
)
def test_counts_by_hand(reference: str, hypothesis: str, expected: ErrorCounts) -> None:
    assert count_errors(reference.split(), hypothesis.split()) == expected


def test_no_reference_word_has_no_rate() -> None:
    assert count_errors([], ["a"]).rate is None
    assert count_errors(["a", "b"], ["a"]).rate == 50.0


def test_the_listing_by_hand() -> None:
    utterances = [
        Utterance("u1", ("go", "to", "boston"), ("go", "two", "boston", "now"), speaker="s1"),
        Utterance("u2", ("字", "b"), None),
    ]
    assert aligned_listing(utterances) == (
        "id: u1 speaker s1  scores (#C #S #D #I): 2 1 0 1\n"
        "REF: go to  boston ***\n"
        "HYP: go two boston now\n"
        "EVA:    S          I\n"
        "\n"
        "id: u2  scores (#C #S #D #I): 0 0 2 0 (no hypothesis)\n"
        "REF: 字 b\n"
        "HYP: ** *\n"
        "EVA: D  D\n"
    )
