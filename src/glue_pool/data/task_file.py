"""The YAML of a task as `glue-pool task new` writes it: a first line for `glue-pool list`, and what may be changed."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from glue_pool.fields import literal

COMMENTS = {
    "columns": "one text or two; a template joins columns, '{title}: {body}'",
    "labels": "by class id",
    "separator": "between the labels of a row",
    "score_range": "another score is refused; null takes any",
    "standardise": "trains on scores of mean 0 and deviation 1; predictions are in the data's unit",
    "primary_metric": "the score; any of the metrics",
    "dev_share": "of the train rows: they are not trained on; or a file of their own, source.files.dev",
    "test_splits": "neither trained on nor evaluated",
}
PLAIN = re.compile(r"[^\W\d_][\w./-]*( [\w./-]+)*")  # what may stand without quotes, unless YAML takes it for a value


def text(task: Mapping[str, Any]) -> str:
    """Return the file's text; task: the keys that differ from the defaults, source.files among them."""
    names = ", ".join(re.sub(r"[^\w .*-]", "_", Path(file).name) for file in task["source"]["files"].values())
    lines = [f"# {_sentence(task)} ({names})"]
    for key, value in task.items():
        written = _lines(key, value)
        if key in COMMENTS:
            written[0] += _comment(key, task)
        lines += written
    return "\n".join(lines) + "\n"


def _sentence(task: Mapping[str, Any]) -> str:
    of = "a pair of texts" if len(task["columns"]) == 2 else "a text"
    if "labels" not in task:
        return f"Which score fits {of}?"
    return f"Which of {len(task['labels'])} labels {'fit' if 'multi_label' in task else 'fits'} {of}?"


def _comment(key: str, task: Mapping[str, Any]) -> str:
    of_two = key == "labels" and "f1" in task["metrics"]
    return f" # {COMMENTS[key]}" + ("; f1 is of the second unless `positive` names the first" if of_two else "")


def _lines(key: str, value: Any) -> list[str]:
    """Write a key, on a line where one is enough."""
    if isinstance(value, dict) and key != "label_map":
        return [f"{key}:", *(f"  {line}" for name, inner in value.items() for line in _lines(name, inner))]
    line = f"{key}: {_flow(value)}"
    if isinstance(value, list) and len(line) > 100:
        return [f"{key}:", *(f"- {_flow(item)}" for item in value)]
    return [line]


def _flow(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_flow(key)}: {_flow(inner)}' for key, inner in value.items())}}}"
    return json.dumps(value)


def _quoted(value: str) -> str:
    """Write text so that YAML and OmegaConf read this very text: `no`, `1` and `${…}` are no values of theirs."""
    escaped = literal(value)
    plain = PLAIN.fullmatch(escaped) and yaml.safe_load(escaped) == escaped and escaped.lower() not in ("y", "n")
    if plain or re.fullmatch(r"/[\w./-]+", escaped):
        return escaped
    if escaped.isprintable():
        return "'" + escaped.replace("'", "''") + "'"
    written: str = yaml.safe_dump(escaped, default_style='"', width=10**9)
    return written.strip()
