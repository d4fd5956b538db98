"""What the report leaves in its folder: the page, scores.csv and tables.tex, each whole or not at all."""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glue_pool.errors import UserError
from glue_pool.report import latex, page
from glue_pool.report.panels import PARTS
from glue_pool.report.payload import payload
from glue_pool.report.study import Study
from glue_pool.report.verdicts import Table
from glue_pool.result import SplitFacts
from glue_pool.results import write_text
from glue_pool.shell import readable


def write(
    study: Study, tables: Sequence[Table], baseline: str | None, tasks: Sequence[str], folder: Path
) -> list[Path]:
    """Write the files and return those to open; raises UserError if the folder can't be written."""
    content = payload(study, tables, baseline, tasks)
    texts = {"scores.csv": scores_csv(study), "tables.tex": latex.tables_tex(tables, study.notes, baseline, tasks)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        index, *_ = page.write(folder, content)
        for name, text in texts.items():
            write_text(folder / name, readable(text))
    except OSError as error:
        raise UserError(f"--output {folder}: can't be written ({error.strerror}); choose another folder") from None
    return [index, *(folder / name for name in texts)]


def scores_csv(study: Study) -> str:
    """Return a row a run, failed ones too, scores as computed; `settings` is what tells a method's rows apart."""
    records = list(_records(study))
    names = dict.fromkeys(name for record in records for name in record)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in record.items()} for record in records)
    return text.getvalue()


def _records(study: Study) -> Iterator[dict[str, Any]]:
    for panel in study.panels:
        for (row, subset, task), cell in panel.cells.items():
            for run in [*cell.runs, *cell.failed]:
                result = run.result
                timing, best, parameters = result["timing"], result["best"], result["parameters"]
                yield {
                    "task": task,
                    "method": row.method,
                    **{part: result[part] for part in PARTS},
                    "settings": row.label.removeprefix(row.method).strip(),
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
                    "collapsed": result["collapsed"],
                    "train_rows": result["train_rows"],
                    "parameters": parameters and parameters["total"],
                    "pooling_parameters": parameters and parameters["pooling"],
                    "train_seconds": timing and timing["train_seconds"],
                    "total_seconds": timing and timing["total_seconds"],
                    "peak_memory_bytes": result["peak_memory_bytes"],
                    "official": _official(result["splits"], study.tasks[task].official_rows),
                    "error": (result["error"] or "").partition("\n")[0] or None,
                    "run_key": result["run_key"],
                    "folder": str(run.folder),
                    **{
                        f"{split}/{name}": value
                        for split, metrics in result["metrics"].items()
                        for name, value in metrics.items()
                    },
                }


def _official(splits: Mapping[str, SplitFacts], known: Collection[str]) -> bool | None:
    """Whether the splits are the data set's own; None where it has none of them, or none was loaded."""
    of_data_set = [about["official"] for name, about in splits.items() if name in known]
    return all(of_data_set) if of_data_set else None


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from taking an error message for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
