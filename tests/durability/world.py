"""A corpus of tones, so small that every command takes a second or less on it, and the commands from its audio to a report."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr_distill.base import write_json
from asr_distill.data.audio_files import write_wav

WORDS = {"AX": "A B", "BO": "B C", "CU": "C A D", "DI": "D B"}
TONES = {"A": 400, "B": 900, "C": 1500, "D": 2600}
SECONDS_OF_A_PHONE = 0.12
PARTS = {"train": 10, "dev": 3, "test": 3}


@dataclass(frozen=True)
class Step:
    """A command, the files and folders that it writes, and the command's name for the counts."""

    name: str
    words: tuple[str, ...]
    outputs: tuple[str, ...]


def write_corpus(folder: Path) -> None:
    """``manifests/cuts_{train,dev,test}.jsonl.gz``, their audio, ``lexicon.txt`` and configurations."""
    from lhotse import CutSet, Recording, SupervisionSegment

    generator = np.random.default_rng(0)
    for part, count in PARTS.items():
        cuts = []
        for number in range(count):
            name, words = f"{part}{number}", [str(word) for word in generator.choice(list(WORDS), 3)]
            path = folder / "audio" / f"{name}.wav"
            write_wav(path, _speech(words, generator), 16000)
            cut = Recording.from_file(path, recording_id=name).to_cut()
            cut.id = name
            speaker = f"{part}-{number % 2}"
            cut.supervisions = [SupervisionSegment(name, name, 0.0, cut.duration, text=" ".join(words), speaker=speaker)]
            cuts.append(cut)
        (folder / "manifests").mkdir(exist_ok=True)
        CutSet.from_cuts(cuts).to_file(folder / "manifests" / f"cuts_{part}.jsonl.gz")
    write_json(folder / "manifests" / "corpus.json", {"source": "synthesised", "counts": {}})
    (folder / "report.yaml").write_text(_REPORT)
    (folder / "classes.yaml").write_text(_CLASSES)
    (folder / "lexicon.txt").write_text("".join(f"{word} {phones}\n" for word, phones in WORDS.items()))


def write_omniglot(folder: Path, classes: int = 8) -> None:
    """Archives in Omniglot's layout: a class is a bar at a place of its own; ``OMNIGLOT_DIR`` is to name ``folder``."""
    from PIL import Image

    rows, columns = np.mgrid[:105, :105]
    for number, name in enumerate(("images_background", "images_evaluation")):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for label in range(number, classes, 2):
                for drawer in range(20):
                    bar = abs((rows if label % 2 else columns) - 15 - 18 * (label // 2) - drawer % 4) < 6
                    with archive.open(f"{name}/Bars/character{label:02d}/0001_{drawer + 1:02d}.png", "w") as stream:
                        Image.fromarray(np.where(bar, 0, 255).astype(np.uint8)).save(stream, "PNG")


def _speech(words: list[str], generator: np.random.Generator) -> np.ndarray:
    phones = ["SIL", *" ".join(WORDS[word] for word in words).split(), "SIL"]
    time = np.arange(round(16000 * SECONDS_OF_A_PHONE)) / 16000
    parts = [0.2 * np.sin(2 * np.pi * TONES.get(phone, 0) * time) for phone in phones]
    return (np.concatenate(parts) + generator.normal(0, 0.01, len(phones) * len(time))).astype(np.float32)


_REPORT = """
recipe: tones
command: bash run.sh
samples: 100
words: lang/words.txt
senones: senones/senones.json#num_senones
systems: [{name: student, label: student, lm: bigram, seeds: [0], decode: decode/test, model: "student/seed{seed}"}]
comparisons: []
tables: {table1: {title: Table 1, rows: [student]}}
headline: {baseline_wer: student.wer.test}
values: {}
"""
_CLASSES = """
omniglot: {size: 8}
training: {network: {name: image_cnn, channels: [4, 4], hidden: 8}, epochs: 2, batch_size: 50, learning_rate: 0.02}
clusters: {number: 2, size: 3, images: 100}
specialist: {images: 60, training: {epochs: 1, learning_rate: 0.003}}
distilled_back: {training: {epochs: 1, learning_rate: 0.003}}
controls:
  wider: {name: image_cnn, channels: [4, 8], hidden: 8}
  mixture: {name: image_mixture, experts: 2, channels: [4, 4], hidden: 8}
samples: 100
"""
_TRAINING = (
    "--set network.layers=1 --set network.width=16 --set epochs=2 --set batch_size=400 --set checkpoint_minutes=0"
    " --set tensorboard=false --threads 1 --dev frames/dev --inventory senones/senones.json --priors senones/priors.json"
)
# fmt: off
# ruff: noqa: E501
_COMMANDS = f"""
features        | features --cuts manifests/cuts_train.jsonl.gz manifests/cuts_dev.jsonl.gz manifests/cuts_test.jsonl.gz --output fbank --jobs 2 | fbank
lang build      | lang build --lexicon lexicon.txt --cuts manifests/cuts_train.jsonl.gz --output lang | lang
lang ngram      | lang ngram --lang lang --cuts manifests/cuts_train.jsonl.gz --output lm/bigram.arpa | lm
lang g          | lang g --lang lang --arpa lm/bigram.arpa --output g/G.fst | g
align mono      | align mono --cuts fbank/cuts_train.jsonl.gz --lang lang --output mono --iterations 6 --total-gaussians 24 --max-failed-share 0.5 | mono
align forced    | align forced --cuts fbank/cuts_train.jsonl.gz --lang lang --scores-from mono --output align/alignments_train.jsonl.gz | align
align forced    | align forced --cuts fbank/cuts_dev.jsonl.gz --lang lang --scores-from mono --output align_dev/alignments_dev.jsonl.gz | align_dev
tree            | tree --lang lang --alignments mono/alignments_train.jsonl.gz --cuts fbank/cuts_train.jsonl.gz --num-leaves 14 --min-count 5 --min-gain 5 --max-missing-share 0.5 --output senones | senones
tree label      | tree label --inventory senones/senones.json --alignments align/alignments_train.jsonl.gz --cuts fbank/cuts_train.jsonl.gz --max-missing-share 0.5 --output labels/cuts_train.jsonl.gz --priors senones/priors.json | labels senones/priors.json
tree label      | tree label --inventory senones/senones.json --alignments align_dev/alignments_dev.jsonl.gz --cuts fbank/cuts_dev.jsonl.gz --output labels_dev/cuts_dev.jsonl.gz | labels_dev
frames          | frames --cuts labels/cuts_train.jsonl.gz --normalisation utterance --senones senones/senones.json --output frames/train | frames/train
frames          | frames --cuts labels_dev/cuts_dev.jsonl.gz --normalisation utterance --senones senones/senones.json --output frames/dev | frames/dev
align triphone  | align triphone --cuts fbank/cuts_train.jsonl.gz --lang lang --inventory senones/senones.json --alignments align/alignments_train.jsonl.gz --output tri --iterations 5 --total-gaussians 20 --max-failed-share 0.5 | tri
train           | train --train frames/train {_TRAINING} --seeds 0,1 --output models | models
ensemble        | ensemble combine --members models/seed0 models/seed1 --output ensemble | ensemble
soft-targets    | soft-targets --teacher ensemble --frames frames/train --mode dense --shard-frames 200 --output targets/dense | targets/dense
soft-targets    | soft-targets --teacher ensemble --frames frames/train --mode topk --top-k 3 --tail-rank 0 --shard-frames 200 --output targets/topk | targets/topk
distill         | distill --train frames/train {_TRAINING} --soft-targets targets/dense --temperature 2 --output student | student
graph build     | graph build --lang lang --g g/G.fst --inventory senones/senones.json --output graph | graph
decode          | decode --model student/seed0 --graph graph --cuts fbank/cuts_test.jsonl.gz --engine kaldi --acoustic-scale 0.5 --system student --output decode/test | decode
score           | score decode/test --training-cuts manifests/cuts_train.jsonl.gz | decode
accuracy        | accuracy --model student/seed0 --frames frames/dev --output accuracy/dev.json | accuracy
report          | report --run . --config report.yaml --publish published --html published/report.html | published
classes data    | classes data --config classes.yaml --run classes | classes
classes plan    | classes plan --config classes.yaml --run classes | classes
classes train   | classes train --config classes.yaml --run classes --threads 1 --jobs 1 --systems generalist,specialists | classes
classes predict | classes predict --config classes.yaml --run classes | classes
"""


def steps() -> list[Step]:
    """The commands in order; each reads what those before it wrote."""
    rows = [[part.strip() for part in line.split("|")] for line in _COMMANDS.strip().splitlines()]
    return [Step(name, tuple(words.split()), tuple(outputs.split())) for name, words, outputs in rows]
