"""From entries of a table to the steps that make them: what each runs, what it needs, and what it leaves in the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from asr_distill.base import UserError, read_json, to_mapping
from asr_distill.base.executor import Job
from asr_distill.experiments.decoding import TUNED, DecodingJob
from asr_distill.experiments.decoding.job import found_engine
from asr_distill.experiments.model_jobs import AccuracyJob, CombinationJob, CurveJob
from asr_distill.experiments.small_jobs import ScaleJob, SweepJob
from asr_distill.experiments.soft_target_job import SoftTargetJob
from asr_distill.experiments.sweep import Point
from asr_distill.experiments.table import Entry, Search, Table
from asr_distill.experiments.training_job import SequenceObjective, SoftTargets, TrainingJob

SWEEP_FILE = "sweep.json"
PHONES = "phones"


@dataclass(frozen=True)
class Step:
    """One job of an entry.

    Args:
        entry: the entry's name.
        name: ``ENTRY/seedN/WHAT``, also the place of its record.
        make: makes the job, once what it needs is complete.
        outputs: files and folders that it leaves.
        needs: names of other steps.
    """

    entry: str
    name: str
    make: Callable[[], Job]
    outputs: tuple[Path, ...]
    needs: tuple[str, ...] = ()


class Steps:
    """The steps of a table's entries in a run.

    Args:
        table: the table.
        run: folder of the run.
        threads: CPU threads of each job.
        seeds: only these of every network.
    """

    def __init__(self, table: Table, run: Path, threads: int = 1, seeds: Sequence[int] | None = None) -> None:
        self.table, self.run, self.threads, self._only = table, run, threads, seeds

    def of(self, names: Sequence[str]) -> list[Step]:
        """Return the steps of these entries, each behind those it needs, as far as they are among them."""
        return [step for name in names for step in self._of_entry(name, self.table.systems[name])]

    def seeds(self, entry: Entry) -> list[int]:
        """Return the seeds of a network that are made here; 0 of anything else."""
        if entry.kind not in ("train", "distil"):
            return [0]
        return [seed for seed in entry.seeds if self._only is None or seed in self._only] or [entry.seeds[0]]

    def model(self, name: str, seed: int) -> Path:
        """Return the folder of a system's model."""
        entry = self.table.systems[name]
        return self.run / entry.model if entry.model is not None else self.run / "models" / name / f"seed{seed}"

    def first(self, name: str) -> int:
        """Return the first seed of a system: the one that chooses scales, teaches and starts others."""
        return self.seeds(self.table.systems[name])[0]

    def _of_entry(self, name: str, entry: Entry) -> Iterator[Step]:
        if entry.kind in ("train", "distil"):
            for seed in self.seeds(entry):
                yield self._training(name, entry, seed)
        elif entry.kind == "sweep":
            yield from self._sweep(name, entry)
        elif entry.kind == "combine":
            yield self._combination(name, entry)
        elif entry.kind == "store":
            yield self._store(name, entry)
        elif entry.kind == "curve":
            yield self._curve(name, entry)
        if entry.kind in ("train", "distil", "combine"):
            for seed in self.seeds(entry):
                yield from self._accuracy(name, entry, seed)
        if entry.search is not None:
            for seed in self.seeds(entry):
                yield from self._searches(name, entry, entry.search, seed)

    # --- networks

    def _config(self, name: str, entry: Entry, seed: int) -> dict[str, Any]:
        from asr_distill.training.configuration import load_training_config, with_settings

        settings = [*entry.set.items(), ("seed", seed), ("threads", self.threads)]
        return to_mapping(with_settings(load_training_config(entry.config), settings, f"{name}: {entry.config} with `set`"))

    def _network(self, name: str, entry: Entry, seed: int, output: Path, **more: Any) -> TrainingJob:
        senones = self.run / self.table.data.senones
        start = None if entry.start is None else self._start(entry.start, seed)
        return TrainingJob(
            self._config(name, entry, seed),
            self.run / entry.frames if entry.frames is not None else senones / "frames" / "train",
            *(senones / "frames" / "dev", senones / "senones.json", senones / "priors.json", output),
            share=entry.share,
            initial_model=start,
            allow_shared_speakers=self.table.data.allow_shared_speakers,
            **more,
        )

    def _start(self, name: str, seed: int) -> Path:
        seeds = self.seeds(self.table.systems[name])
        return self.model(name, seed if seed in seeds else seeds[0])

    def _training(self, name: str, entry: Entry, seed: int) -> Step:
        output = self.model(name, seed)
        needs = [self._trained(entry.start, int(self._start(entry.start, seed).name[4:]))] if entry.start is not None else []
        if entry.distil is not None:
            needs += self._needs_of_teacher(entry.distil)
            needs += [f"{entry.point}/choice"] if entry.point is not None else []

        def make() -> Job:
            soft = None if entry.distil is None else self._soft(entry.distil, entry, self._point(entry))
            sequence = None
            if entry.train in ("lfmmi", "smbr"):
                alignments = self.run / self.table.data.alignments / "alignments_train.jsonl.gz"
                sequence = SequenceObjective(entry.train, alignments, **entry.sequence)
            return self._network(name, entry, seed, output, soft=soft, sequence=sequence)

        return Step(name, self._trained(name, seed), make, (output,), tuple(needs))

    def _trained(self, name: str, seed: int) -> str:
        return f"{name}/seed{seed}/{'combine' if self.table.systems[name].kind == 'combine' else 'train'}"

    def _needs_of_teacher(self, name: str) -> list[str]:
        if self.table.systems[name].kind == "store":
            return [f"{name}/write"]
        return [self._trained(name, self.first(name))]

    def _soft(self, teacher: str, entry: Entry, point: Point) -> SoftTargets:
        stored = self.table.systems[teacher].kind == "store"
        return SoftTargets(
            store=self.run / "targets" / teacher if stored else None,
            teacher=None if stored else self.model(teacher, self.first(teacher)),
            soften=entry.soften,
            temperature=point.temperature,
            soft_weight=entry.soft_weight,
            hard_weight=point.hard_weight,
            loss=entry.loss,
        )

    def _point(self, entry: Entry) -> Point:
        if entry.point is None:
            return Point(float(entry.temperature or 1), float(entry.hard_weight or 0))
        chosen = read_json(self.run / "models" / entry.point / SWEEP_FILE)["chosen"]
        said = (chosen["temperature"], chosen["hard_weight"])
        own = (entry.temperature, entry.hard_weight)
        return Point(*(theirs if ours is None else ours for ours, theirs in zip(own, said, strict=True)))

    def _sweep(self, name: str, entry: Entry) -> Iterator[Step]:
        assert entry.sweep is not None
        folder, names, outputs = self.run / "models" / name, [], []
        for temperature in entry.temperatures or (1.0, 2.0, 5.0, 10.0):
            for hard_weight in entry.hard_weights:
                point = Point(temperature, hard_weight)
                for seed in entry.seeds:
                    output = folder / point.name / f"seed{seed}"
                    step = f"{name}/{point.name}/seed{seed}/train"
                    soft = self._soft(entry.sweep, entry, point)
                    yield Step(
                        *(name, step),
                        partial(self._network, name, entry, seed, output, soft=soft),
                        *((output,), tuple(self._needs_of_teacher(entry.sweep))),
                    )
                    names.append(step)
                    outputs.append(output)
        file = folder / SWEEP_FILE
        yield Step(name, f"{name}/choice", _made(SweepJob(tuple(outputs), file)), (file,), tuple(names))

    # --- ensembles and what they say

    def _members(self, entry: Entry, name: str) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        seeds = self.seeds(self.table.systems[name])
        if entry.size is not None and entry.size > len(seeds):
            raise UserError(f"an ensemble of {entry.size} of {name} was asked for, which has {len(seeds)} seeds")
        chosen = seeds[: entry.size]
        return tuple(self.model(name, seed) for seed in chosen), tuple(self._trained(name, seed) for seed in chosen)

    def _combination(self, name: str, entry: Entry) -> Step:
        assert entry.members is not None
        assert entry.combine is not None
        members, needs = self._members(entry, entry.members)
        fitted = entry.combine in ("weighted", "best")
        dev = self.run / self.table.data.senones / "frames" / "dev" if fitted else None
        output = self.model(name, 0)
        job = CombinationJob(members, output, entry.combine, dev=dev, autocast="auto" if fitted else "off")
        return Step(name, self._trained(name, 0), _made(job), (output,), needs)

    def _store(self, name: str, entry: Entry) -> Step:
        assert entry.store is not None
        teacher, output = entry.store, self.run / "targets" / name
        frames = self.run / (entry.frames or self.table.data.senones / "frames" / "train")
        given: dict[str, Any] = {"top_k": entry.top_k, "tail_rank": entry.tail_rank, "num_samples": entry.num_samples}
        job = SoftTargetJob(
            *(self.model(teacher, self.first(teacher)), frames, output, entry.mode),
            temperatures=entry.temperatures,
            autocast=entry.autocast,
            **given,
        )
        return Step(name, f"{name}/write", _made(job), (output,), (self._trained(teacher, self.first(teacher)),))

    def _curve(self, name: str, entry: Entry) -> Step:
        assert entry.curve is not None
        members, needs = self._members(entry, entry.curve)
        frames = self.run / self.table.data.senones / "frames"
        output = self.run / "ensemble" / f"{name}.json"
        job = CurveJob(
            *(members, (frames / "dev", frames / "test"), output),
            dev=frames / "dev",
            plot=output.with_suffix(".png"),
            autocast="auto",
        )
        return Step(name, f"{name}/measure", _made(job), (output,), needs)

    # --- what they are worth

    def _accuracy(self, name: str, entry: Entry, seed: int) -> Iterator[Step]:
        frames, output = self.run / self.table.data.senones / "frames", self.run / "accuracy" / name / f"seed{seed}.json"
        stores = tuple(frames / split for split in entry.accuracy)
        model, needs = self.model(name, seed), (self._trained(name, seed),)
        if stores:
            job = AccuracyJob(model, stores, output, autocast="auto")
            yield Step(name, f"{name}/seed{seed}/accuracy", _made(job), (output,), needs)
        if entry.share != 1.0:
            part = self.run / "accuracy" / f"{name}_share" / f"seed{seed}.json"
            share = AccuracyJob(model, (frames / "train",), part, share=entry.share, autocast="auto")
            yield Step(name, f"{name}/seed{seed}/accuracy_share", _made(share), (part,), needs)

    def _searches(self, name: str, entry: Entry, search: Search, seed: int) -> Iterator[Step]:
        base = entry.again or name
        of_base = self.table.systems[base]
        model = self.model(base, self.first(base) if entry.again else seed)
        needs = () if of_base.model is not None else (self._trained(base, self.first(base) if entry.again else seed),)
        tuned = search.scales_from or (base if entry.again else name)
        tunes = tuned == name and seed == self.first(name)
        labels = self.run / (of_base.labels or self.table.data.senones / "labels")
        graphs = self.run / self.table.data.graphs / (of_base.graphs or "senones")
        options: dict[str, Any] = {
            "engine": found_engine(search.engine),
            **{key: getattr(search, key) for key in ("beam", "lattice_beam", "max_active", "autocast", "max_bad_share")},
        }
        for language_model in [*search.language_models, *([PHONES] if search.phones else [])]:
            phones = language_model == PHONES
            folder = self.run / "decode" / f"{name}_{language_model}" / f"seed{seed}"
            scales = self.run / "decode" / f"{tuned}_{language_model}" / f"seed{self.first(tuned)}" / "dev" / TUNED
            choice = f"{tuned}/seed{self.first(tuned)}/dev_{language_model}"
            found = (graphs / PHONES,) if phones else _graphs(graphs, language_model)
            of_split: dict[str, dict[str, Any]] = {
                split: {
                    "system": base if not entry.again else name,
                    "cuts": labels / f"cuts_{split}.jsonl.gz",
                    "alignments": self.run / self.table.data.alignments / f"alignments_{split}.jsonl.gz" if phones else None,
                }
                for split in ("dev", "test")
            }
            if tunes:
                job = DecodingJob(model, folder / "dev", graphs=found, scales=search.scales, **of_split["dev"], **options)
                yield Step(name, choice, _made(job), (folder / "dev",), needs)
            lang = self.table.data.lang if not phones and tunes else None
            given = (graphs / PHONES,) if phones else ()
            asked: dict[str, Any] = {"graphs": given, "scales_from": scales, "lang": lang and self.run / lang}
            test = DecodingJob(model, folder / "test", **asked, **of_split["test"], **options)
            after = (*needs, choice)
            yield Step(name, f"{name}/seed{seed}/test_{language_model}", _made(test), (folder / "test",), after)
            if tunes and entry.kind in ("train", "distil") and language_model == search.language_models[-1]:
                yield Step(name, f"{name}/seed{seed}/scale", _made(ScaleJob(model, scales)), (), (choice,))


def _made(job: Job) -> Callable[[], Job]:
    return lambda: job


def _graphs(folder: Path, language_model: str) -> tuple[Path, ...]:
    """The graphs of a language model: ``NAME``, or ``NAME_SCALE_PENALTY`` for each pair that dev chooses from."""
    number = r"_-?\d+(\.\d+)?"
    name = re.compile(rf"{re.escape(language_model)}({number}{number})?")
    found = sorted(path for path in folder.glob("*") if name.fullmatch(path.name))
    if not found:
        raise UserError(f"{folder} holds no graph of the language model {language_model}; run the stage that builds it first")
    return tuple(found)
