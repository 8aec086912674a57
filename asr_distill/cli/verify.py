"""``asr-distill verify``: every file that this toolkit wrote in some folders, compared with its digest."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

EXAMPLE = "asr-distill verify exp models\n         asr-distill verify --accept lang    (a file in it was changed knowingly)"

_NAMED = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="with all that is in it")
    parser.add_argument("--accept", action="store_true", help="list the files as they are now, and those that are gone no more")


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from asr_distill.base import UserError, accept_folder
    from asr_distill.cli.main import emit

    for folder in args.folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder; name one that asr-distill wrote, or one that holds such folders")
    if args.accept:
        accepted = sum(accept_folder(folder) for folder in args.folders)
        emit(args, {"accepted": accepted}, f"{accepted} files are listed as they are now")
        return 0
    files, wrong = 0, []
    for folder in args.folders:
        for outcome in _outcomes(folder):
            files += 1
            wrong += [outcome] if outcome else []
    if wrong:
        more = [f"and {len(wrong) - _NAMED} more"] if len(wrong) > _NAMED else []
        raise UserError("\n  ".join([f"{len(wrong)} of {files} files are not as they were written:", *wrong[:_NAMED], *more]))
    emit(args, {"verified": files}, f"{files} files, all as they were written" if files else "no list of digests there")
    return 0


def _outcomes(folder: Path) -> Iterator[str]:
    """What is wrong with each listed file, and with each store by its own checksums; empty where nothing is."""
    from asr_distill.base import DIGESTS_FILE, UserError, check_file, read_digests

    for listing in sorted(folder.rglob(DIGESTS_FILE)):
        try:
            names = sorted(read_digests(listing.parent) or {})
        except UserError as error:
            yield str(error)
            continue
        for name in names:
            try:
                check_file(listing.parent / name)
                yield ""
            except UserError as error:
                yield str(error)
    for meta in sorted(folder.rglob("meta.json")):
        yield from _outcomes_of_store(meta.parent)


def _outcomes_of_store(folder: Path) -> Iterator[str]:
    from asr_distill.base import UserError, read_json
    from asr_distill.data import FrameStore
    from asr_distill.data.frame_store import KIND as FRAMES
    from asr_distill.distillation import SoftTargetStore
    from asr_distill.distillation.soft_target_shards import KIND as SOFT_TARGETS

    try:
        meta = read_json(folder / "meta.json")
        kind = meta.get("kind") if isinstance(meta, dict) else None
        if kind == FRAMES:
            FrameStore.open(folder).verify()
            yield ""
        elif kind == SOFT_TARGETS and meta.get("complete"):
            SoftTargetStore.open(folder, resident_bytes=0).verify()
            yield ""
    except UserError as error:
        yield str(error)
