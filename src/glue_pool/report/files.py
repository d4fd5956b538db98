"""What the report leaves in its folder: the page, scores.csv, tables.tex, results.parquet; each whole or not at all."""

import csv
import io
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from glue_pool.errors import UserError
from glue_pool.report import latex, page, records
from glue_pool.report.payload import payload
from glue_pool.report.scan import Run
from glue_pool.report.study import Study
from glue_pool.report.verdicts import Table
from glue_pool.results import write_bytes
from glue_pool.shell import readable


def contents(
    study: Study, runs: Sequence[Run], tables: Sequence[Table], baseline: str | None, tasks: Sequence[str]
) -> dict[str, bytes]:
    """Return what is written, by file; runs: all that are over."""
    texts = {
        page.INDEX: page.html(payload(study, tables, baseline, tasks)),
        "scores.csv": readable(scores_csv(study, tasks)),
        "tables.tex": readable(latex.tables_tex(tables, study.notes, baseline, tasks, study.left_out)),
    }
    return {
        **{name: text.encode() for name, text in texts.items()},
        "results.parquet": records.parquet(study, runs, tasks),
    }


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
    found = list(records.of_tables(study, study.tasks if tasks is None else tasks))
    names = dict.fromkeys(name for record in found for name in record)
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in record.items()} for record in found)
    return text.getvalue()


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from taking a text for a formula, also behind blanks and in full-width signs (OWASP)."""
    if not isinstance(value, str):
        return value
    folded = unicodedata.normalize("NFKC", value)
    return f"'{value}" if folded.startswith(("\t", "\r")) or folded.lstrip().startswith(("=", "+", "-", "@")) else value
