"""Which runs a submission is of: those of one method, and of each task one encoder, kind, subset and settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from glue_pool.errors import UserError, nearest
from glue_pool.metrics import METRICS
from glue_pool.report.scan import SAME_RUN, LeftOut, Run
from glue_pool.submission import official
from glue_pool.submission.official import FILES, File

WHERE_TRAINED = {"device", "torch", "transformers"}  # settings in which seeds of one configuration may differ
SHOWN = 3  # settings, and values of each, that a message names
NO_RUN, NO_MODEL = "no finished run", "no saved model that can be used"
NO_SPLIT, OTHER_SIZE = "no test split that can be read", "split of another size than GLUE's"


@dataclass(frozen=True)
class Wanted:
    """What chooses runs: a method and, where they are given, the rest."""

    method: str
    encoder: str | None = None
    kind: str | None = None
    subset: str | None = None
    seed: int | None = None

    def takes(self, run: Run) -> bool:
        """Whether a run is one of those."""
        size, subset_seed = run.subset
        names = ("full",) if size is None else (f"n{size}", f"n{size}-seed{subset_seed}")
        return (
            self.encoder in (None, run.result["encoder"])
            and self.kind in (None, run.result["kind"])
            and (self.subset is None or self.subset in names)
            and self.seed in (None, run.result["seed"])
        )

    @property
    def options(self) -> str:
        """The options that are given, as on a command line."""
        given = {"encoder": self.encoder, "kind": self.kind, "subset": self.subset, "seed": self.seed}
        return "".join(f" --{name} {value}" for name, value in given.items() if value is not None)


@dataclass(frozen=True)
class Part:
    """What a file is predicted from: runs that differ in their seed alone, and a split of their task."""

    file: File
    split: str
    runs: Sequence[Run]
    is_ax: bool = False

    @property
    def models(self) -> list[Path]:
        """The folders of the saved models."""
        return [run.folder / "model" for run in self.runs]

    @property
    def dev(self) -> tuple[str, float, bool] | None:
        """The metric, its mean over the runs on the dev split like this one, and whether that was official; no AX's."""
        if self.is_ax:
            return None
        task = self.runs[0].task
        of_dev = [name for name in task["dev_splits"] if name.partition("_")[2] == self.split.partition("_")[2]]
        split = [*of_dev, *task["dev_splits"]][0]  # validation_matched is like test_matched
        metric = METRICS[task["primary_metric"]]
        scores = [run.result["metrics"][split][metric.name] for run in self.runs]
        mean = fmean(float("nan") if one is None else one for one in scores)
        return metric.name, metric.scale * mean, all(run.result["splits"][split]["official"] for run in self.runs)


@dataclass(frozen=True)
class Missing:
    """Why a file can't be predicted, or not by all that it is to be of: in a few words, and for whoever mends it."""

    file: File
    why: str
    detail: str

    @property
    def said(self) -> str:
        """All that is known of it."""
        return f"{self.why}{' ' if self.why == NO_RUN else ': '}{self.detail}"


def choose(
    runs: Sequence[Run], left_out: Sequence[LeftOut], wanted: Wanted
) -> tuple[list[Part], list[Missing], list[str]]:
    """Return what each of GLUE's files is predicted from, what is missing, and what else a reader has to know.

    left_out: what else lies in the folders; what lies beside a file's runs is a seed that can't be used. A file may be
    predicted, and lack something: some of its runs have no saved model. Raises UserError where there is no run at all,
    where runs of several configurations could be meant, and for a task that is none of GLUE's.
    """
    found = _of_method(runs, wanted)
    candidates: dict[str, list[tuple[str, Run]]] = {name: [] for name in FILES}
    for run in found:
        for split, name in (run.task.get("submission") or {}).items():
            if name not in FILES:
                said = f"task.submission.{split} is {name}{nearest(str(name), list(FILES))}"
                raise UserError(f"{run.folder}: {said}; GLUE's files are {', '.join(FILES)}")
            candidates[name].append((split, run))
    of_its_own = bool(candidates[official.AX])
    if not of_its_own:
        candidates[official.AX] = [(official.AX_SPLIT, run) for _, run in candidates[official.OF_AX]]
    parts, missing, unclear, remarks = [], [], {}, []
    for name, of_file in candidates.items():
        file = FILES[name]
        configurations = _configurations(of_file)
        saved = [those for those in configurations if any(_has_model(run) for _, run in those)]
        if len(saved or configurations) > 1:
            unclear[name] = _differing(saved or configurations)
            continue
        chosen = (saved or configurations or [[]])[0]
        if not chosen:
            missing.append(Missing(file, NO_RUN, f"of {wanted.method}{wanted.options}"))
            continue
        there = sorted((run for _, run in chosen if _has_model(run)), key=lambda run: run.result["seed"])
        if without := [str(run.folder) for _, run in chosen if not _has_model(run)]:
            missing.append(Missing(file, NO_MODEL, f"{', '.join(without)}: save_model=true keeps it"))
        missing += [Missing(file, NO_MODEL, f"{of}: {why}") for of, why in _unusable(chosen, runs, left_out, wanted)]
        for run, again in [(run, again) for run, again in pairwise(there) if _seed(run) == _seed(again)]:
            remarks.append(f"{again.folder}: the same seed and settings as {run.folder}; it is not counted again")
            there.remove(again)
        if there:
            official.check(there[0].task, file, there[0].folder)
            parts.append(Part(file, chosen[0][0], there, name == official.AX and not of_its_own))
    if unclear:
        raise UserError(_which(unclear, wanted))
    if len({tuple(map(_seed, part.runs)) for part in parts}) > 1:
        remarks.append("the files are not all of the same seeds")
    return parts, missing, list(dict.fromkeys(remarks))


def _seed(run: Run) -> int:
    return run.result["seed"]


def _unusable(
    chosen: Sequence[tuple[str, Run]], runs: Sequence[Run], left_out: Sequence[LeftOut], wanted: Wanted
) -> list[tuple[Path, str]]:
    """Return what lies beside some runs and is a seed of theirs: damaged, not over, or failed."""
    places = {run.folder.parent for _, run in chosen}
    found = [(of.path, of.reason) for of in left_out if {of.path.parent, of.path.parent.parent} & places]
    failed = [run for run in runs if not run.completed and run.folder.parent in places and wanted.takes(run)]
    found += [(run.folder, f"the run failed ({run.result['error']})") for run in failed]
    if wanted.seed is not None:
        found = [(path, why) for path, why in found if f"/seed={wanted.seed}-" in f"{path}/"]
    return [(path, why) for path, why in found if not why.startswith(SAME_RUN)]


def _of_method(runs: Sequence[Run], wanted: Wanted) -> list[Run]:
    completed = [run for run in runs if run.completed]
    methods = sorted({run.result["method"] for run in completed})
    if wanted.method not in methods:
        there = f"there are runs of {', '.join(methods)}" if methods else "there is no finished run at all"
        raise UserError(f"--method {wanted.method}: no finished run of it{nearest(wanted.method, methods)} ({there})")
    of_method = [run for run in completed if run.result["method"] == wanted.method]
    found = [run for run in of_method if wanted.takes(run)]
    if not found:
        there = "; ".join(f"{name} {', '.join(values)}" for name, values in _choices(of_method).items())
        raise UserError(f"no finished run of {wanted.method} is of{wanted.options}; there are {there}")
    return found


def _choices(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return what the options can say of some runs."""
    return {
        "--encoder": sorted({run.result["encoder"] for run in runs}),
        "--kind": sorted({run.result["kind"] for run in runs}),
        "--subset": sorted({"full" if (of := run.subset)[0] is None else f"n{of[0]}-seed{of[1]}" for run in runs}),
        "--seed": [str(seed) for seed in sorted({run.result["seed"] for run in runs})],
    }


def _configurations(runs: Sequence[tuple[str, Run]]) -> list[list[tuple[str, Run]]]:
    """Return runs by what they are of, but for the seed."""
    found: dict[Any, list[tuple[str, Run]]] = {}
    for split, run in runs:
        settings = frozenset(_settings(run).items())
        found.setdefault((split, run.task["name"], *run.panel, run.subset, settings), []).append((split, run))
    return list(found.values())


def _settings(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.settings.items() if name not in WHERE_TRAINED}


def _has_model(run: Run) -> bool:
    return (run.folder / "model").is_dir()


def _differing(configurations: Sequence[Sequence[tuple[str, Run]]]) -> str:
    """Say in what configurations of one file differ."""
    runs = [those[0][1] for those in configurations]
    choices = _choices(runs)
    del choices["--seed"]
    said = [f"{name} {_some(values)}" for name, values in choices.items() if len(values) > 1]
    if said:
        return ", ".join(said)
    others = {"task": [run.task["name"] for run in runs], "split": [those[0][0] for those in configurations]}
    names = dict.fromkeys(name for run in runs for name in _settings(run))
    others |= {name: [str(_settings(run).get(name, "none")) for run in runs] for name in names}
    differing = [f"{name} {_some(dict.fromkeys(of))}" for name, of in others.items() if len(set(of)) > 1]
    more = f" and {len(differing) - SHOWN} settings more" if len(differing) > SHOWN else ""
    folders = _some(dict.fromkeys(str(run.folder) for run in runs))
    return f"{', '.join(differing[:SHOWN])}{more}, as in {folders}: name the folders of the runs as OUTPUTS"


def _some(values: Sequence[str] | Mapping[str, None]) -> str:
    shown = list(values)[:SHOWN]
    return " or ".join(shown) + (f" or {len(values) - SHOWN} others" if len(values) > SHOWN else "")


def _which(unclear: Mapping[str, str], wanted: Wanted) -> str:
    return f"which runs of {wanted.method} are meant? {'; '.join(grouped(unclear.items()))}"


def grouped(entries: Iterable[tuple[str, str]]) -> list[str]:
    """Return what is said of files, each thing once after the names of all of its files."""
    files: dict[str, list[str]] = {}
    for name, said in entries:
        files.setdefault(said, []).append(name)
    return [f"{', '.join(names)}: {said}" for said, names in files.items()]
