"""What decides the result of a job: its options as plain values, and the content of what it reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from asr_distill.base.executor import Job
from asr_distill.base.records import content_of
from asr_distill.training.configuration import NO_INFLUENCE

_WRITTEN = frozenset({"output", "plot", "per_utterance"})
_PLACES = frozenset({"threads", "device"})


def identity_of(job: Job) -> dict[str, Any]:
    """Return the job's class and its fields; a path becomes the digest of its content (`content_of`).

    What the job writes, and where it runs, is left out.

    Raises:
        UserError: something that the job reads does not exist.
    """
    return {"job": type(job).__name__, **_fields(job)}


def _fields(value: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(value):
        if field.name not in _WRITTEN | _PLACES:
            found[field.name] = _plain(getattr(value, field.name))
    if isinstance(found.get("config"), dict):  # of a training
        found["config"] = {key: item for key, item in found["config"].items() if key not in NO_INFLUENCE}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return content_of(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return _fields(value) if dataclasses.is_dataclass(value) else value
