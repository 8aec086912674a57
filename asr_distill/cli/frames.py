"""``asr-distill frames``: features and senone labels of a CutSet as a memory-mapped frame store."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLE = (
    "asr-distill frames --cuts labels/cuts_train.jsonl.gz --normalisation speaker --senones senones/senones.json"
    " --output frames/train\n"
    "         asr-distill frames --cuts labels/cuts_dev.jsonl.gz --normalisation-from frames/train --senones"
    " senones/senones.json --output frames/dev\n"
    "         asr-distill frames --verify frames/train"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--cuts", type=Path, metavar="CUTS", help="lhotse CutSet with features, and with labels where there are any"
    )
    what.add_argument("--verify", type=Path, metavar="STORE", help="check every byte of a store instead of writing one")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the store to write; an older one is replaced when done")
    parser.add_argument(
        "--normalisation", choices=("none", "corpus", "speaker", "utterance"), help="mean and variance (default: speaker)"
    )
    parser.add_argument(
        "--normalisation-from",
        type=Path,
        metavar="STORE",
        help="normalise as that store: its statistics where they are the corpus's, its kind where each split has its own",
    )
    parser.add_argument("--senones", type=Path, metavar="JSON", help="the inventory that the labels belong to")
    parser.add_argument("--feature-config", type=Path, metavar="JSON", help="fbank.json (default: found beside the features)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the stored features")


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    from asr_distill.base import UserError
    from asr_distill.cli.main import emit
    from asr_distill.data import FrameStore, load_utterances, write_frame_store
    from asr_distill.features import Fbank40Config, Normalisation, NormalisationKind

    if args.verify:
        store = FrameStore.open(args.verify)
        store.verify()
        emit(args, {"store": str(args.verify), "verified": True, "hash": store.hash}, f"{args.verify}: whole, {store.hash}")
        return 0
    if args.output is None:
        raise UserError("--output is missing: name the folder of the store")
    if args.normalisation and args.normalisation_from:
        raise UserError("--normalisation and --normalisation-from exclude each other: give one")
    normalisation: Normalisation | NormalisationKind = args.normalisation or "speaker"
    config = None
    if args.normalisation_from:
        other = FrameStore.open(args.normalisation_from)
        normalisation = other.normalisation if other.normalisation.kind == "corpus" else other.normalisation.kind
        config = other.feature_config
    if args.feature_config:
        config = Fbank40Config.load(args.feature_config)
    senones_hash, num_senones = None, None
    if args.senones:
        from asr_distill.senones import SenoneInventory

        inventory = SenoneInventory.load(args.senones)
        senones_hash, num_senones = inventory.hash, inventory.num_senones
    cuts = load_utterances(args.cuts)
    store = write_frame_store(
        args.output,
        cuts,
        normalisation,
        feature_config=config,
        senones_hash=senones_hash,
        num_senones=num_senones,
        dtype=args.dtype,
    )
    meta = store.meta
    result = {
        "store": str(args.output),
        "cuts": store.num_cuts,
        "frames": store.num_frames,
        "labelled": meta["num_labelled"],
        "normalisation": store.normalisation.kind,
        "senones_hash": store.senones_hash,
        "bytes": sum(entry["bytes"] for entry in meta["files"].values()),
    }
    text = (
        f"{args.output}: {store.num_cuts} cuts, {store.num_frames} frames ({meta['num_labelled']} labelled),"
        f" normalisation {store.normalisation.kind}, {result['bytes'] / 1e6:.1f} MB"
    )
    emit(args, result, text)
    return 0
