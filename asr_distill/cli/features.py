"""``asr-distill features``: filterbanks of one or more CutSets, stored by lhotse's numpy writer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLE = "asr-distill features --cuts manifests/cuts_train.jsonl.gz --output fbank --speed-perturb 0.9,1.0,1.1"

_FILES = ("bad_{}.jsonl", "cuts_{}.jsonl.gz")  # of each CutSet, by its name


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of the subcommand."""
    parser.add_argument(
        "--cuts", type=Path, nargs="+", required=True, metavar="CUTS", help="lhotse CutSets (cuts_NAME.jsonl.gz)"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="gets cuts_NAME.jsonl.gz, NAME/ and fbank.json"
    )
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="filterbank configuration (default: 40 bins, 25/10 ms, 16 kHz)"
    )
    parser.add_argument(
        "--jobs", type=int, default=min(4, os.cpu_count() or 1), metavar="N", help="threads (default: %(default)s)"
    )
    parser.add_argument(
        "--speed-perturb", default="1.0", metavar="FACTORS", help="store each cut at these speeds, such as 0.9,1.0,1.1"
    )
    parser.add_argument("--channel", type=int, metavar="N", help="the channel to use of recordings with several")
    parser.add_argument(
        "--allow-shared-speakers", action="store_true", help="of CutSets that are not parts of one split of a corpus"
    )
    parser.add_argument(
        "--max-bad-share", type=float, default=0.0, metavar="SHARE", help="share of cuts (0 to 1) with bad audio to leave out"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the subcommand."""
    import time

    import torch

    from asr_distill.base import UserError, check_own, load_config, only_writer, write_json, write_jsonl
    from asr_distill.cli.main import emit
    from asr_distill.data.checks import check_disjoint_speakers, load_utterances
    from asr_distill.features import Fbank40, Fbank40Config, config_difference, extract_features
    from asr_distill.features.array_files import remove_unreferenced

    config = load_config(Fbank40Config, args.config) if args.config else Fbank40Config()
    try:
        speeds = tuple(float(word) for word in args.speed_perturb.split(","))
    except ValueError:
        raise UserError(f"--speed-perturb {args.speed_perturb}: expected numbers with commas, such as 0.9,1.0,1.1") from None
    if args.jobs < 1:
        raise UserError(f"--jobs {args.jobs}: expected 1 or more")
    names = [path.name.split(".")[0].removeprefix("cuts_") for path in args.cuts]
    if len(set(names)) != len(names):
        raise UserError(f"--cuts: two CutSets have the same name ({', '.join(names)}); give them one after the other")
    description = args.output / "fbank.json"
    if description.exists():
        difference = config_difference(Fbank40Config.load(description), config)
        if difference:
            raise UserError(
                f"{args.output} holds features of another configuration ({difference}); choose another --output or remove it"
            )
    torch.set_num_threads(1)  # the threads are ours
    results = {}
    loaded = {name: load_utterances(path) for name, path in zip(names, args.cuts, strict=True)}
    if not args.allow_shared_speakers:
        try:
            check_disjoint_speakers(loaded)
        except UserError as error:
            raise UserError(f"{error}\nOr, if these are not parts of one split: --allow-shared-speakers") from None
    for name, path in zip(names, args.cuts, strict=True):
        if path.resolve().parent == args.output.resolve():
            raise UserError(f"--output {args.output} is where {path} lies, which would be overwritten; choose another folder")
        check_own(description, *(args.output / file.format(name) for file in _FILES))
    for name in names:
        cuts = loaded.pop(name)
        start = time.monotonic()
        bad, manifest = (args.output / file.format(name) for file in _FILES)
        with only_writer(manifest):
            report = extract_features(
                cuts,
                args.output / name,
                config,
                jobs=args.jobs,
                speeds=speeds,
                channel=args.channel,
                max_bad_share=args.max_bad_share,
            )
            write_json(description, Fbank40(config).to_dict(), listed=True)
            write_jsonl(bad, ({"id": key, "reason": reason} for key, reason in report.bad.items()), listed=True)
            write_jsonl(manifest, (cut.to_dict() for cut in report.cuts), listed=True)
            removed = remove_unreferenced(args.output / name, {cut.features.storage_key for cut in report.cuts})
        hours = sum(cut.duration for cut in report.cuts) / 3600
        results[name] = {
            "cuts": len(report.cuts),
            "hours": round(hours, 4),
            "frames": report.num_frames,
            "computed": report.computed,
            "reused": report.reused,
            "resampled": report.resampled,
            "bad": len(report.bad),
            "removed": removed,
            "seconds": round(time.monotonic() - start, 2),
            "manifest": str(manifest),
        }
    text = "\n".join(
        f"{name}: {r['cuts']} cuts, {r['hours']:.3f} h, {r['frames']} frames ({r['computed']} computed, {r['reused']} there"
        f" already, {r['bad']} bad) in {r['seconds']} s -> {r['manifest']}"
        for name, r in results.items()
    )
    emit(args, {"features": results}, text)
    return 0
