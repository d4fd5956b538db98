"""Which runs a submission is of: those of one method, and of each task one encoder, kind, subset and settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from glue_pool.errors import UserError, nearest
from glue_pool.metrics import METRICS
from glue_pool.report.scan import Run
from glue_pool.submission import official
from glue_pool.submission.official import FILES, File

WHERE_TRAINED = {"device", "torch", "transformers"}  # settings in which seeds of one configuration may differ
SHOWN = 3  # settings, and values of each, that a message names
NO_RUN, NO_MODEL = "no finished run", "run without a saved model"
NO_SPLIT, OTHER_SIZE = "no test split at hand", "split of another size than GLUE's"


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
        names, of_dev = list(task["submission"]), task["dev_splits"]
        split = of_dev[names.index(self.split)] if len(names) == len(of_dev) else of_dev[0]
        metric = METRICS[task["primary_metric"]]
        scores = [run.result["metrics"][split][metric.name] for run in self.runs]
        mean = fmean(float("nan") if one is None else one for one in scores)
        return metric.name, metric.scale * mean, all(run.result["splits"][split]["official"] for run in self.runs)


@dataclass(frozen=True)
class Missing:
    """Why a file, or all that it is to be of, can't be predicted: in a few words, and for whoever wants to mend it."""

    file: File
    why: str
    detail: str

    @property
    def said(self) -> str:
        """All that is known of it."""
        return f"{self.why}{' ' if self.why == NO_RUN else ': '}{self.detail}"


def choose(runs: Sequence[Run], wanted: Wanted) -> tuple[list[Part], list[Missing]]:
    """Return what each of GLUE's files is predicted from, and what is missing.

    A file may be in both: some of its runs have no saved model. Raises UserError where there is no run at all, where
    runs of several configurations could be meant, and for a task that is none of GLUE's.
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
    parts, missing, unclear = [], [], {}
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
        there = [run for _, run in chosen if _has_model(run)]
        without = [str(run.folder) for _, run in chosen if not _has_model(run)]
        if without:
            said = f"{', '.join(without)}: save_model=true keeps the model"
            missing.append(Missing(file, NO_MODEL, said))
        if there:
            official.check(there[0].task, file, there[0].folder)
            there.sort(key=lambda run: run.result["seed"])
            parts.append(Part(file, chosen[0][0], there, name == official.AX and not of_its_own))
    if unclear:
        raise UserError(_which(unclear, wanted))
    return parts, missing


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
    return f"{', '.join(differing[:SHOWN])}{more}: name a deeper folder as OUTPUTS"


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
