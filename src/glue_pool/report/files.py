"""What the report leaves in its folder: the page, scores.csv and tables.tex, each whole or not at all."""

import csv
import io
import math
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glue_pool.errors import UserError
from glue_pool.report import latex, page
from glue_pool.report.panels import PARTS
from glue_pool.report.payload import payload
from glue_pool.report.scan import NO_COMPARISON, Run
from glue_pool.report.study import Study
from glue_pool.report.verdicts import Table
from glue_pool.result import SplitFacts
from glue_pool.results import write_bytes
from glue_pool.shell import one_line, readable


def contents(study: Study, tables: Sequence[Table], baseline: str | None, tasks: Sequence[str]) -> dict[str, bytes]:
    """Return what is written, by file."""
    texts = {
        page.INDEX: page.html(payload(study, tables, baseline, tasks)),
        "scores.csv": readable(scores_csv(study, tasks)),
        "tables.tex": readable(latex.tables_tex(tables, study.notes, baseline, tasks, study.left_out)),
    }
    return {name: text.encode() for name, text in texts.items()}


def write(contents: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write the files and return those to open; raises UserError if the folder can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_assets(folder)
        for name, content in contents.items():
            write_bytes(folder / name, content)
    except OSError as error:
        raise UserError(f"--output {folder}: can't be written ({error.strerror}); choose another folder") from None
    return [folder / name for name in contents]


def scores_csv(study: Study, tasks: Collection[str] | None = None) -> str:
    """Return a row a run, failed ones too, scores as computed; `settings` is what tells a method's rows apart.

    tasks: those that are compared, all if None. `compared` is whether a run's predictions take part in comparisons, as
    far as `verdicts.tables` has found the study; `not_compared` says why not.
    """
    left_out = {item.path.parent: item.reason for item in study.left_out if item.counted == NO_COMPARISON}
    records = list(_records(study, study.tasks if tasks is None else tasks, left_out))
    names = dict.fromkeys(name for record in records for name in record)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in record.items()} for record in records)
    return text.getvalue()


def _records(study: Study, tasks: Collection[str], left_out: Mapping[Path, str]) -> Iterator[dict[str, Any]]:
    for panel in study.panels:
        for (row, subset, task), cell in panel.cells.items():
            for run in [*cell.runs, *cell.failed]:
                result = run.result
                timing, best, parameters = result["timing"], result["best"], result["parameters"]
                why = _not_compared(run, tasks, left_out)
                yield {
                    "task": task,
                    "method": row.method,
                    **{part: result[part] for part in PARTS},
                    "settings": row.told_by,
                    "encoder": panel.encoder,
                    "kind": panel.kind,
                    "subset_size": subset[0],
                    "subset_seed": subset[1],
                    "seed": result["seed"],
                    "status": result["status"],
                    "metric": result["primary_metric"],
                    "score": result["score"],
                    "best_score": best and best["score"],
                    "best_epoch": best and best["epoch"],
                    "compared": why is None,
                    "not_compared": why,
                    "collapsed": result["collapsed"],
                    "train_rows": result["train_rows"],
                    "parameters": parameters and parameters["total"],
                    "pooling_parameters": parameters and parameters["pooling"],
                    "train_seconds": timing and timing["train_seconds"],
                    "total_seconds": timing and timing["total_seconds"],
                    "peak_memory_bytes": result["peak_memory_bytes"],
                    "official": _official(result["splits"], study.tasks[task].official_rows),
                    "error": one_line((result["error"] or "").partition("\n")[0]) or None,
                    "run_key": result["run_key"],
                    "folder": one_line(str(run.folder)),
                    **{
                        f"{split}/{name}": value
                        for split, metrics in result["metrics"].items()
                        for name, value in metrics.items()
                    },
                }


def _not_compared(run: Run, tasks: Collection[str], left_out: Mapping[Path, str]) -> str | None:
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


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from taking a text for a formula, also behind blanks and in full-width signs (OWASP)."""
    if not isinstance(value, str):
        return value
    folded = unicodedata.normalize("NFKC", value)
    return f"'{value}" if folded.startswith(("\t", "\r")) or folded.lstrip().startswith(("=", "+", "-", "@")) else value
