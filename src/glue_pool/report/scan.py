"""Read a folder of runs: those that are over, and everything that is left out, with its reason."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

from glue_pool.keys import SCHEMA, unkeyed
from glue_pool.metrics import METRICS, REGRESSION, SINGLE, Metric, kind_of
from glue_pool.report import earlier
from glue_pool.report.folders import Place, places
from glue_pool.report.kept import digest
from glue_pool.result import Result, wrong
from glue_pool.shell import one_line

# What a row, a column or a selector of the report says already; data and the encoder's weights are told by content.
SAID_ELSEWHERE = re.compile(
    r"(subset|data)\.|(pooling|recipe|edit)\.name$|seed$|train\.(precision|batching)$|"
    + "|".join(rf"{re.escape(name)}(\.|$)" for name in unkeyed() if name != "optimizer.name")
)
BY_ROW = ("idx", "group")  # columns of predictions with a number a row
BY_WORD = ("epoch", "split")
MESSAGE = 200  # characters of one that are shown
FP32 = float(np.finfo(np.float32).max)
LARGEST_SCORE = (2 * FP32) ** 2  # the squared difference of any two scores
UNREADABLE = "can't be read ("  # what another look may read begins with
SAME_RUN = "the same run as"  # is why a copy is left out
NO_COMPARISON = "scores, but no comparison"  # what is left out is counted in
SEED = re.compile(r"^seed: .*$", re.MULTILINE)


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that the report does not count, or not everywhere."""

    path: Path
    reason: str
    counted: str = "nowhere"  # or in what it still is


@dataclass(frozen=True)
class Run:
    """A run that is over."""

    folder: Path
    result: Result
    environment: Mapping[str, str]  # what it was made with, by name; empty if it failed early
    task: Mapping[str, Any]  # the task's config
    settings: Mapping[str, Any]  # what else can change its numbers, flat: `optimizer.lr`, `precision`, `torch`, …
    planned: int | None  # seeds that were to be run before a look at the verdicts
    findings: Sequence[str] = ()  # what is odd about its rows

    @property
    def completed(self) -> bool:
        """Whether it trained to its end; a failed run has no score."""
        return bool(self.result["status"] == "completed")

    @property
    def score(self) -> float:
        """The primary metric of the last epoch, as it was computed: a fraction is one; NaN where there is none."""
        score = self.result["score"]
        return float("nan") if score is None else float(score)

    @property
    def metric(self) -> Metric:
        """The metric that is the score."""
        return METRICS[self.result["primary_metric"]]

    @property
    def shown(self) -> float:
        """The score in points, or in the metric's own unit."""
        return self.metric.scale * self.score

    @property
    def written(self) -> float:
        """When its result was written, in seconds; 0 where that is not known any more."""
        try:
            return (self.folder / "result.json").stat().st_mtime
        except OSError:
            return 0.0

    @property
    def positive(self) -> int:
        """The class that f1 and its like are of."""
        labels, positive = self.task["labels"], self.task.get("positive")
        return labels.index(positive) if positive in labels else 1

    @property
    def panel(self) -> tuple[str, str]:
        """Encoder and kind: scores of different ones are never in one table."""
        return self.result["encoder"], self.result["kind"]

    @property
    def subset(self) -> tuple[int | None, int]:
        """Rows of the train split (None: all) and the seed that drew them."""
        size = self.result["subset"]["size"]
        return size, 0 if size is None else self.result["subset"]["seed"]


@dataclass(frozen=True)
class Predictions:
    """What a run said of the dev split that its score is from, in the last epoch."""

    idx: np.ndarray  # (examples,), rising
    labels: np.ndarray  # (examples,), or (examples, labels) of a multi-label task
    outputs: np.ndarray  # (examples,): classes, or scores; else (examples, labels): logits, if the metric takes more
    digest: str  # of the logits as they stand in the file

    def differs(self, other: "Predictions") -> str | None:
        """Say how the dev rows or the labels differ from those of another, that of most runs; None where they don't."""
        if not np.array_equal(self.idx, other.idx):
            there, more = int(np.isin(other.idx, self.idx).sum()), int((~np.isin(self.idx, other.idx)).sum())
            others = f" and {more} others" if more else ""
            return f"other dev rows than most runs of this task have: {there} of their {len(other.idx)} rows{others}"
        if self.labels.shape != other.labels.shape or self.outputs.shape != other.outputs.shape:
            return "other labels to choose from than most runs of this task have"
        if (wrong := np.flatnonzero((self.labels != other.labels).reshape(len(self.idx), -1).any(axis=1))).size:
            row = wrong[0]
            return (
                f"other labels than most runs of this task have for {len(wrong)} of the same {len(self.idx)} dev rows: "
                f"idx {self.idx[row]} has {self.labels[row].tolist()} instead of {other.labels[row].tolist()}"
            )
        return None


def scan(roots: Sequence[Path]) -> tuple[list[Run], list[LeftOut]]:
    """Read every run under some folders, in the order of their names."""
    return read_all(places(roots), lambda place: read(place.path))


def read_all(there: Sequence[Place], read_one: Callable[[Place], Run | LeftOut]) -> tuple[list[Run], list[LeftOut]]:
    """Return the runs at some places, each once, and what is left out; read_one: what reads a folder with a result."""
    left_out: list[LeftOut] = []
    found: list[Run | LeftOut] = []
    for place in there:
        if place.error:
            left_out.append(_unreadable(place.error))
        elif place.stamps:
            found.append(read_one(place))
        else:
            left_out.append(LeftOut(place.path, "no result yet: it runs, or was interrupted"))
    runs: dict[str, Run] = {}
    for item in found:
        if isinstance(item, LeftOut):
            left_out.append(item)
        elif (same := runs.get(item.result["run_key"])) and same.completed >= item.completed:
            left_out.append(LeftOut(item.folder, f"{SAME_RUN} {same.folder}"))
        else:
            if same:
                left_out.append(LeftOut(same.folder, f"{SAME_RUN} {item.folder}, which is completed"))
            runs[item.result["run_key"]] = item
    return list(runs.values()), left_out


def read_predictions(run: Run) -> Predictions | LeftOut:
    """Read the predictions behind a run's score."""
    found = _last(run, ("idx", "label", "logits"))
    if isinstance(found, str):
        return no_comparison(run, found)
    idx, labels, logits = found
    logits = logits.reshape(len(idx), -1)
    if not np.isfinite(logits).all():
        return no_comparison(run, "predictions that are not finite")
    if (largest := np.abs(logits).max()) > FP32:
        return no_comparison(run, f"predictions of {largest:.3g}, more than fp32 holds")
    if (idx[1:] < idx[:-1]).any():
        order = np.argsort(idx, kind="stable")
        idx, labels, logits = idx[order], labels[order], logits[order]
    if said := _repeated(idx, labels, logits):
        return no_comparison(run, said)
    return Predictions(idx, labels, _outputs(run.metric, labels, logits), digest(logits))


def read_groups(run: Run) -> dict[int, int] | None:
    """Read which of the rows that a run's score is from belong together: each idx's group; None where it isn't said."""
    found = _last(run, ("idx", "group"))
    return None if isinstance(found, str) else dict(zip(found[0].tolist(), found[1].tolist(), strict=True))


def no_comparison(run: Run, reason: str) -> LeftOut:
    """Return that a run's predictions are of no use; its score still is."""
    return LeftOut(run.folder / "predictions.parquet", reason, NO_COMPARISON)


def _last(run: Run, columns: Sequence[str]) -> list[np.ndarray] | str:
    """Return columns of a run's predictions, of the last epoch and the split of its score, or what is wrong."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run.folder / "predictions.parquet"
    try:
        # from bytes: pyarrow opens no path that is no UTF-8. No statistics of columns: damaged ones end the process
        data = pa.BufferReader(path.read_bytes())
        table = pq.ParquetFile(data, read_dictionary=list(BY_WORD)).read([*BY_WORD, *columns], use_threads=False)
        wanted = ("last", run.task["dev_splits"][0])
        keep = np.logical_and(*(_is(table[name], value) for name, value in zip(BY_WORD, wanted, strict=True)))
        if not keep.any():
            return "no predictions of the last epoch"
        # from_dlpack: pyarrow's own to_numpy, take and filter import pandas, for 0.2 s
        found = [_column(table[name])[keep] for name in columns]
        if lists := next((n for n, of in zip(columns, found, strict=True) if n in BY_ROW and of.ndim > 1), None):
            raise ValueError(f"{lists} holds lists")
        return found
    except FileNotFoundError:
        return "predictions.parquet is missing"
    except OSError as error:  # pyarrow's own has no number
        return f"damaged ({_line(error)})" if error.errno is None else f"{UNREADABLE}{error.strerror})"
    except (ValueError, KeyError, TypeError, AttributeError, BufferError, pa.ArrowException) as error:
        return f"damaged ({_line(error)})"


def _repeated(idx: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> str | None:
    """Say which row of a file stands there more than once, number for number; rows are in the order of their idx."""
    again = np.flatnonzero(idx[1:] == idx[:-1])
    if not again.size:
        return None
    rows = sorted({*again.tolist(), *(again + 1).tolist()})
    counts = Counter((int(idx[i]), labels[i].tobytes(), logits[i].tobytes()) for i in rows)
    ((row, *_), times), *_ = counts.most_common(1)
    return None if times == 1 else f"idx {row} stands there {'twice' if times == 2 else f'{times} times'}"


def _column(column: Any) -> np.ndarray:
    """Return a column's numbers, `(rows,)`, or `(rows, …)` where it has lists of them."""
    import pyarrow as pa

    values = column.combine_chunks()
    if not pa.types.is_list(values.type):
        return np.from_dlpack(values)
    return np.from_dlpack(values.flatten()).reshape(len(values), -1)


def _outputs(metric: Metric, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Keep of the logits what the metric takes, in as little memory as there is one number a row."""
    if (kind := kind_of(labels, logits)) == REGRESSION:
        return logits[:, 0].astype(float)
    return logits.argmax(axis=1) if kind == SINGLE and metric.takes == "classes" else logits


def _is(column: Any, value: str) -> np.ndarray:
    """Return where a column of words, read as a dictionary, has this one: `(rows,)`."""
    words = column.combine_chunks()
    there = np.array([word == value for word in words.dictionary.to_pylist()], dtype=bool)
    return np.asarray(there[np.from_dlpack(words.indices)])


def _unreadable(error: OSError) -> LeftOut:
    return LeftOut(Path(error.filename), f"{UNREADABLE}{error.strerror})")


def read(folder: Path) -> Run | LeftOut:
    """Read a run's folder; it need not be whole, nor one at all."""
    file = folder / "result.json"
    try:
        result = json.loads(file.read_bytes())
        if not isinstance(result, dict) or "run_key" not in result:
            return LeftOut(file, "not a result of glue_pool")
        schema = result.get("schema")
        if not isinstance(schema, int) or not 1 <= schema <= SCHEMA:
            return LeftOut(file, f"schema {schema}; this version reads 1 to {SCHEMA}")
        result = earlier.result(result, schema)
        if said := _wrong(result):
            return LeftOut(file, f"damaged ({said})")
        found = cast(Result, {**named(result), "error": result["error"]})
        file = folder / "config.yaml"
        task, settings, planned = _config(SEED.sub("", file.read_text(encoding="utf-8")), schema)
        file = folder / "manifest.json"
        if result["status"] == "failed" and not file.exists():
            return Run(folder, found, {}, task, settings, planned)
        manifest = named(json.loads(file.read_bytes()))
        odd = tuple(str(line)[:MESSAGE] for line in manifest["data"].get("findings", ()))
        return Run(folder, found, _environment(manifest), task, {**settings, **_facts(manifest)}, planned, odd)
    except FileNotFoundError:
        return LeftOut(file, "missing: the run's settings are not known")
    except OSError as error:
        return _unreadable(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        return LeftOut(file, f"damaged ({_line(error)})")


def _wrong(result: Mapping[str, Any]) -> str | None:
    """Say what is not as a result has it."""
    said = wrong(result)
    if said is None and result["primary_metric"] not in METRICS:
        said = f"primary_metric is {result['primary_metric']!r}"
    if said is None and abs(result["score"] or 0) > LARGEST_SCORE:
        said = f"score is {result['score']!r}, which no predictions in fp32 give"
    return said and said[:MESSAGE]


@cache
def _config(text: str, schema: int) -> tuple[Mapping[str, Any], Mapping[str, Any], int | None]:
    """Return the task's config, the flat settings and the plan; a sweep's configs differ in little but the seed."""
    content = named(earlier.config(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), schema))
    flat = dict(_flat(content))
    if not isinstance(content["task"]["dev_splits"], list) or not content["task"]["dev_splits"]:
        raise ValueError("task.dev_splits is not a list")
    if content["task"]["primary_metric"] not in METRICS:
        raise ValueError(f"task.primary_metric is {content['task']['primary_metric']!r}")
    if not isinstance(planned := flat.get("plan.seeds"), int | None):
        raise ValueError(f"plan.seeds is {planned!r}")
    return content["task"], {key: value for key, value in flat.items() if not SAID_ELSEWHERE.match(key)}, planned


def named(content: Any) -> Any:
    """Return plain data whose texts have a line each: they name rows, columns and what differs between them."""
    if isinstance(content, dict):
        return {named(name): named(value) for name, value in content.items()}
    if isinstance(content, list):
        return [named(value) for value in content]
    return one_line(content) if isinstance(content, str) else content


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else value


def _facts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that only the manifest knows."""
    fingerprints = manifest["data"]["fingerprints"]
    facts = {
        "precision": manifest["precision"],
        "batching": manifest["batching"],
        "device": manifest["hardware"]["device"],
        "torch": manifest["versions"]["torch"],
        "transformers": manifest["versions"]["transformers"],
        "weights": _short(manifest["encoder"].get("weights", manifest["encoder"]["identity"])),  # schema 1: no edits
        "data.name": manifest["data"]["source"],
        **({"recipe.identity": manifest["recipe_identity"]} if manifest.get("recipe_identity") else {}),
        "data.fingerprint": " ".join(_short(value) for value in fingerprints.values()),
    }
    return {name: str(value) for name, value in facts.items()}


def _environment(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return what a run was made with that its numbers may depend on, by name."""
    git, hardware = manifest["git"] or {}, manifest["hardware"]
    commit = str(git.get("commit", "none"))[:10] + (" with changes" if git.get("modified") else "")
    facts = {
        "commit": commit,
        "CPU": f"{hardware['cpu']}, {hardware['cores']} cores",
        "GPU": hardware["gpu"] or "none",
        "platform": hardware["platform"],
        "device": hardware["device"],
        "precision": manifest["precision"],
        "batching": manifest["batching"],
        **manifest["versions"],
    }
    return {name: str(value) for name, value in facts.items()}


def _short(identity: str) -> str:
    """Return the first digits of a checksum; a name stays whole."""
    return identity[:8] if re.fullmatch("[0-9a-f]{64}", identity) else identity


def _line(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".strip()
    return text.splitlines()[0][:MESSAGE]
