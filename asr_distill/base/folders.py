"""What a folder holds that was given where another was expected."""

from __future__ import annotations

from pathlib import Path

from asr_distill.base.errors import UserError
from asr_distill.base.files import read_json

_KINDS = {  # by a file that it has
    "graph.json": "a decoding graph (--graph)",
    "lang.json": "a lang directory (--lang)",
    "ensemble.json": "an ensemble of models (--model)",
    "gmm.json": "a GMM",
    "config.json": "a model bundle (--model)",
    "decode.json": "a decode directory",
    "fbank.json": "a folder of features",
}


def found_instead(path: str | Path, otherwise: str) -> str:
    """What the folder is, for the end of a message that says what it is not; ``otherwise`` where that cannot be told.

    A folder of models, such as training leaves, names them.
    """
    path = Path(path)
    if path.is_file():
        return f"it is a file: give the folder, {path.parent} if that is the one"
    models = sorted(file.parent.name for name in ("config.json", "gmm.json") for file in path.glob(f"*/{name}"))
    for name, kind in _KINDS.items():
        if (path / name).is_file():
            return f"it is {kind}: exchanged with another option?"
    if (path / "meta.json").is_file():
        return f"it is {_kind_of_store(path / 'meta.json')}: exchanged with another option?"
    if models:
        some = ", ".join(models[:10]) + (", ..." if len(models) > 10 else "")
        return f"it holds the models {some}: name one, such as {path / models[0]}, or combine them by `asr-distill ensemble`"
    return otherwise


def _kind_of_store(meta: Path) -> str:
    try:
        kind = read_json(meta)["kind"]
    except (UserError, KeyError, TypeError):
        return "some store"
    return f"a {str(kind).removeprefix('asr_distill ')}"
