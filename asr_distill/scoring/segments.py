"""Words with times are given to the segments of the references, as sclite does.

A word belongs to the segment that holds its middle; words in segments that are not to be scored are left out; those between
segments count as insertions of the nearest one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from asr_distill.base import UserError
from asr_distill.scoring.markup import best_reading, change_words
from asr_distill.scoring.timed import Segment, TimedWord
from asr_distill.scoring.utterances import Utterance


def pair_timed(
    segments: Sequence[Segment], ctm: Mapping[tuple[str, str], Sequence[TimedWord]], change: Callable[..., tuple[str, ...]]
) -> tuple[list[Utterance], list[str]]:
    """An utterance for each segment that is scored, and the files of the ctm that no segment is of.

    ``change`` is applied to the words of both sides. A segment's hypothesis is None where the ctm has nothing of its file.
    Raises `UserError` where a file's channel has other names in the two.
    """
    by_channel: dict[tuple[str, str], list[int]] = {}
    for index, segment in enumerate(segments):
        by_channel.setdefault((segment.file, segment.channel), []).append(index)
    words: dict[int, list[str]] = {}
    unknown = []
    for key, timed in ctm.items():
        indices = by_channel.get(_same_channel(key, by_channel))
        if indices is None:
            unknown.append(key[0])
            continue
        for index in indices:
            words.setdefault(index, [])
        for word in timed:
            words[_segment_of(word, segments, indices)].append(word.word)
    utterances = []
    for index, segment in enumerate(segments):
        if segment.reference is None:
            continue
        hypothesis = None if index not in words else change(tuple(words[index]))
        reference = best_reading(change_words(segment.reference, change), hypothesis or ())
        utterances.append(Utterance(segment.id, reference, hypothesis, speaker=segment.speaker))
    return utterances, unknown


def _same_channel(key: tuple[str, str], known: Mapping[tuple[str, str], object]) -> tuple[str, str]:
    """The channel of the references: 1 and A are one, and so are two names where each side has one channel of the file."""
    file, channel = key
    names = [other for of, other in known if of == file]
    if channel in names or not names:
        return key
    pairs = {"1": "A", "2": "B", "A": "1", "B": "2"}
    if pairs.get(channel.upper()) in names:
        return file, pairs[channel.upper()]
    raise UserError(
        f"the channel {channel!r} of {file!r} is not among those of the references ({', '.join(names)}); name both alike"
    )


def _segment_of(word: TimedWord, segments: Sequence[Segment], indices: Sequence[int]) -> int:
    middle = word.start + word.duration / 2

    def distance(index: int) -> float:
        segment = segments[index]
        return max(segment.start - middle, middle - segment.end, 0.0)

    return min(indices, key=distance)
