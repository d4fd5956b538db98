"""A row a run: what scores.csv and results.parquet say of it."""

import io
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glue_pool.report.panels import PARTS, plain
from glue_pool.report.scan import NO_COMPARISON, Run
from glue_pool.report.study import Study
from glue_pool.result import SplitFacts
from glue_pool.shell import one_line, readable

TEXT, WHOLE, NUMBER, FLAG = "string", "int64", "double", "bool"
COLUMNS: dict[str, str] = {
    "task": TEXT, "method": TEXT, "pooling": TEXT, "edit": TEXT, "recipe": TEXT, "settings": TEXT,
    "encoder": TEXT, "kind": TEXT,
    "subset_size": WHOLE, "subset_seed": WHOLE, "seed": WHOLE, "status": TEXT, "metric": TEXT, "score": NUMBER,
    "best_score": NUMBER, "best_epoch": NUMBER, "compared": FLAG, "not_compared": TEXT, "collapsed": FLAG,
    "deterministic": FLAG, "train_rows": WHOLE, "parameters": WHOLE, "pooling_parameters": WHOLE,
    "setup_seconds": NUMBER, "train_seconds": NUMBER, "eval_seconds": NUMBER, "total_seconds": NUMBER,
    "train_steps": WHOLE, "evaluations": WHOLE, "train_examples_per_second": NUMBER,
    "train_tokens_per_second": NUMBER, "peak_memory_bytes": WHOLE, "official": FLAG, "error": TEXT, "run_key": TEXT,
    "folder": TEXT,
}  # fmt: skip


def of_tables(study: Study, tasks: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield a record of each run of the tables, failed ones too; tasks: those that are compared."""
    left_out = _not_counted(study)
    for panel in study.panels:
        for (row, *_), cell in panel.cells.items():
            for run in [*cell.runs, *cell.failed]:
                yield _record(run, row.told_by, _why_not(run, tasks, left_out), study)


def parquet(study: Study, runs: Sequence[Run], tasks: Collection[str]) -> bytes:
    """Return results.parquet: a row a run that is over, in the order of folders, also those in no table.

    Columns are COLUMNS, then by name the metrics, `split/metric`, and what differs between runs of a method,
    `setting/name`, as text.
    """
    import pyarrow as pa
    import pyarrow.json as from_json
    import pyarrow.parquet as pq

    counted = _not_counted(study)
    nowhere = {item.path: item.reason for item in study.left_out}
    row_of = {run.folder: row for panel in study.panels for (row, *_), cell in panel.cells.items()
              for run in [*cell.runs, *cell.failed]}  # fmt: skip
    settings = sorted({key for row in row_of.values() for key, _ in row.settings})
    metrics = sorted({name for run in runs for name in _metrics(run)})
    lines = []
    for run in runs:
        row = row_of.get(run.folder)
        why = _why_not(run, tasks, counted) if row else nowhere.get(run.folder, "in no table")
        record = {
            **{name: value for name, value in (run.result["timing"] or {}).items() if name in COLUMNS},
            **_record(run, row.told_by if row else None, why, study),
            "deterministic": bool(run.result.get("deterministic")),
            **{f"setting/{key}": plain(run.settings[key]) for key in settings if key in run.settings},
        }
        lines.append(json.dumps({name: _storable(value) for name, value in record.items()}))
    types = {**COLUMNS, **dict.fromkeys(metrics, NUMBER), **{f"setting/{key}": TEXT for key in settings}}
    schema = pa.schema([(name, pa.type_for_alias(of)) for name, of in types.items()])
    content = "\n".join(lines).encode()
    table = from_json.read_json(  # pyarrow's way from lists imports pandas, for 0.2 s
        io.BytesIO(content),
        from_json.ReadOptions(block_size=len(content) + 1),
        from_json.ParseOptions(explicit_schema=schema),
    )
    file = io.BytesIO()
    pq.write_table(table.select(schema.names), file, compression="zstd")
    return file.getvalue()


def _record(run: Run, settings: str | None, why_not: str | None, study: Study) -> dict[str, Any]:
    result = run.result
    timing, best, parameters = result["timing"], result["best"], result["parameters"]
    size, seed = run.subset
    task = study.tasks.get(result["task"])
    return {
        "task": result["task"],
        "method": result["method"],
        **{part: result[part] for part in PARTS},
        "settings": settings,
        "encoder": result["encoder"],
        "kind": result["kind"],
        "subset_size": size,
        "subset_seed": seed,
        "seed": result["seed"],
        "status": result["status"],
        "metric": result["primary_metric"],
        "score": result["score"],
        "best_score": best and best["score"],
        "best_epoch": best and best["epoch"],
        "compared": why_not is None,
        "not_compared": why_not,
        "collapsed": result["collapsed"],
        "train_rows": result["train_rows"],
        "parameters": parameters and parameters["total"],
        "pooling_parameters": parameters and parameters["pooling"],
        "train_seconds": timing and timing["train_seconds"],
        "total_seconds": timing and timing["total_seconds"],
        "peak_memory_bytes": result["peak_memory_bytes"],
        "official": _official(result["splits"], task.official_rows if task else ()),
        "error": one_line((result["error"] or "").partition("\n")[0]) or None,
        "run_key": result["run_key"],
        "folder": one_line(str(run.folder)),
        **_metrics(run),
    }


def _metrics(run: Run) -> dict[str, float | None]:
    return {f"{split}/{name}": value for split, of in run.result["metrics"].items() for name, value in of.items()}


def _not_counted(study: Study) -> dict[Path, str]:
    """Return by folder why a run of the tables is in no comparison."""
    return {item.path.parent: item.reason for item in study.left_out if item.counted == NO_COMPARISON}


def _why_not(run: Run, tasks: Collection[str], left_out: Mapping[Path, str]) -> str | None:
    if not run.completed:
        return "failed"
    if not math.isfinite(run.score):
        return "no score"
    if run.result["task"] not in tasks:
        return "not in --tasks"
    return left_out.get(run.folder)


def _official(splits: Mapping[str, SplitFacts], known: Collection[str]) -> bool | None:
    """Whether the splits are the data set's own; None where it has none of them, or none was loaded."""
    of_data_set = [about["official"] for name, about in splits.items() if name in known]
    return all(of_data_set) if of_data_set else None


def _storable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return readable(value) if isinstance(value, str) else value
