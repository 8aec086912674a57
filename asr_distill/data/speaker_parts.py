"""Who is in which part of a corpus: whole speakers set aside for dev, and parts that share no recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asr_distill.base import UserError
from asr_distill.data.corpora import Utterance
from asr_distill.data.speaker_choice import RULE, choose_speakers, evenly_spaced

DEV_SHARE = 0.1  # of the speakers
FEWEST_SPEAKERS = 5
LARGEST_DEV = 1 / 3  # of the utterances


def set_aside_dev(
    utterances: Sequence[Utterance], dev_speakers: int | None = None, *, allow_shared_speakers: bool = False
) -> tuple[list[Utterance], list[Utterance], dict[str, Any]]:
    """The training part without its dev speakers, those, and the rule for corpus.json.

    Speakers who share a recording stay together, and count as one here. A tenth of them, at least one, or ``dev_speakers``, are
    chosen as `choose_speakers` does, balanced by gender where it is known: the same corpus gives the same speakers. Raises
    `UserError` where there are fewer than `FEWEST_SPEAKERS` and no number is given, not enough for it, or where the chosen have
    more than a third of the utterances.

    allow_shared_speakers: where there are fewer than `FEWEST_SPEAKERS` and no number is given, whole recordings are set aside
    instead, and dev has the speakers of train.
    """
    together = _together(utterances)
    if allow_shared_speakers and dev_speakers is None and len(set(together.values())) < FEWEST_SPEAKERS:
        return _recordings_aside(utterances)
    genders: dict[str, set[str]] = {name: set() for name in together.values()}
    for row in utterances:
        genders[together[row.speaker]].add(row.gender or "?")
    if dev_speakers is not None and dev_speakers < 1:
        raise UserError(f"--dev-speakers {dev_speakers}: expected 1 or more")
    if dev_speakers is None and len(genders) < FEWEST_SPEAKERS:
        raise UserError(
            f"the training part has {len(genders)} speakers (those who share a recording count once), too few to set some aside"
            f" for dev, which takes {FEWEST_SPEAKERS}. Next: give dev data of its own (--dev), --dev-speakers 1, or"
            " --allow-shared-speakers: then some recordings of the same speakers are dev"
        )
    size = dev_speakers or max(1, round(DEV_SHARE * len(genders)))
    groups = {name: "".join(sorted(found)) for name, found in genders.items()}
    chosen = set(choose_speakers(groups, {"dev": size}, rest="train")["dev"])
    dev = [row for row in utterances if together[row.speaker] in chosen]
    if dev_speakers is None and len(dev) > LARGEST_DEV * len(utterances):
        raise UserError(
            f"setting {size} of {len(genders)} speakers aside for dev takes {len(dev)} of {len(utterances)} utterances, more"
            f" than a third. Next: give dev data of its own (--dev), or --dev-speakers {size} to have it so"
        )
    rule = {
        "rule": f"dev: {size} of {len(genders)} speakers of the training part, those who share a recording counted as one;"
        f" {RULE.format(groups='gender')}",
        "dev_speakers": sorted({row.speaker for row in dev}),
    }
    return [row for row in utterances if together[row.speaker] not in chosen], dev, rule


def _recordings_aside(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance], dict[str, Any]]:
    """A tenth of the recordings, but five where there are 25 or more: the scale is chosen on them."""
    recordings = sorted({row.recording_id or row.id for row in utterances})
    if len(recordings) < FEWEST_SPEAKERS:
        raise UserError(
            f"the training part has {len(recordings)} recordings, too few to set some aside for dev, which takes"
            f" {FEWEST_SPEAKERS}. Next: give dev data of its own (--dev)"
        )
    size = max(1, round(DEV_SHARE * len(recordings)), min(5, len(recordings) // 5))
    chosen = set(evenly_spaced(recordings, size))
    dev = [row for row in utterances if (row.recording_id or row.id) in chosen]
    rule = {
        "rule": f"dev: {size} of {len(recordings)} recordings of the training part, evenly spaced in sorted order, since there"
        f" are fewer than {FEWEST_SPEAKERS} speakers; their speakers are in both",
        "dev_speakers": sorted({row.speaker for row in dev}),
    }
    return [row for row in utterances if (row.recording_id or row.id) not in chosen], dev, rule


def check_recordings(parts: Mapping[str, Sequence[Utterance]]) -> None:
    """Raises `UserError` where a recording, or two of the same id, are in two parts."""
    owners: dict[str, tuple[str, Utterance]] = {}
    for part, rows in parts.items():
        for row in rows:
            name = row.recording_id or row.id
            owner, first = owners.setdefault(name, (part, row))
            if owner == part:
                continue
            if first.audio == row.audio:
                raise UserError(
                    f"the recording {name} ({row.audio}) is in both {owner} and {part}; a recording may be in one part only:"
                    " move all that is cut out of it to one of the two"
                )
            raise UserError(
                f"the recording id {name} is in both {owner} ({first.audio}) and {part} ({row.audio}); ids must be unique over"
                " the parts: write the part in front of them"
            )


def _together(utterances: Sequence[Utterance]) -> dict[str, str]:
    """Each speaker to the first, in sorted order, of those that recordings link to them."""
    leader = {row.speaker: row.speaker for row in utterances}

    def find(speaker: str) -> str:
        while leader[speaker] != speaker:
            leader[speaker] = leader[leader[speaker]]
            speaker = leader[speaker]
        return speaker

    first: dict[str, str] = {}
    for row in utterances:
        one, other = find(row.speaker), find(first.setdefault(row.recording_id or row.id, row.speaker))
        leader[max(one, other)] = min(one, other)
    return {speaker: find(speaker) for speaker in leader}
