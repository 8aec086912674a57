"""Whole speakers set aside by a rule that has no randomness: evenly spaced in sorted order, group by group."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from asr_distill.base import UserError

RULE = (
    "speakers are grouped by {groups}; each group gives its share (largest remainder) to each part, smaller parts first;"
    " within a group the chosen speakers are evenly spaced in sorted order (positions floor((i + 1/2) * n / k))"
)


def evenly_spaced(items: Sequence[str], count: int) -> list[str]:
    """``count`` of ``items`` in sorted order: positions ``floor((i + 1/2) * n / count)``."""
    if not 0 <= count <= len(items):
        raise ValueError(f"cannot choose {count} of {len(items)}")
    ordered = sorted(items)
    return [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]


def choose_speakers(groups: Mapping[str, Hashable], sizes: Mapping[str, int], rest: str) -> dict[str, list[str]]:
    """Splits speakers into parts of given ``sizes``; whoever is left goes to the part ``rest``.

    ``groups`` gives each speaker's group (gender, age class); every part gets each group's share to within one speaker.
    Raises `UserError` where there are not enough speakers to leave one for ``rest``.
    """
    if len(groups) <= sum(sizes.values()):
        wanted = ", ".join(f"{size} for {name}" for name, size in sizes.items())
        raise UserError(f"{len(groups)} speakers are too few to set aside {wanted} and leave some for {rest}")
    left = dict(groups)
    parts: dict[str, list[str]] = {}
    for name, size in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
        members: dict[Hashable, list[str]] = {}
        for speaker in sorted(left):
            members.setdefault(left[speaker], []).append(speaker)
        shares = _largest_remainder([len(found) for found in members.values()], size)
        chosen = [
            speaker for found, share in zip(members.values(), shares, strict=True) for speaker in evenly_spaced(found, share)
        ]
        parts[name] = sorted(chosen)
        left = {speaker: group for speaker, group in left.items() if speaker not in set(chosen)}
    parts[rest] = sorted(left)
    return parts


def _largest_remainder(weights: Sequence[int], total: int) -> list[int]:
    """Whole numbers in proportion to ``weights`` that sum to ``total``; ties go to the earlier."""
    whole = [weight * total // sum(weights) for weight in weights]
    remainders = [weight * total % sum(weights) for weight in weights]
    for index in sorted(range(len(weights)), key=lambda i: (-remainders[i], i))[: total - sum(whole)]:
        whole[index] += 1
    return whole
