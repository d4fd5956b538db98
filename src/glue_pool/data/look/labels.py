"""What a label column says: which kind of task it is, which labels there are, and in which order."""

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from glue_pool.data.columns import are_places, parts, plain
from glue_pool.data.look.tables import NUMBER, Column, shortened
from glue_pool.errors import UserError
from glue_pool.tasks import TaskConfig

Kind = Literal["single", "multi", "regression"]

ORDERS = "negative neutral positive,neg neu pos,no yes,n y,false true,f t,off on,ham spam,different same".split(",")
ORDERS += "low medium high,never sometimes always,entailment neutral contradiction,bad good".split(",")
NOT = r"(not|non|no|un|in|im|ir|dis)[ _-]?"
RANGES = {(0, 1), (-1, 1), (0, 5), (1, 5), (0, 10), (1, 10), (0, 100)}
FEW = 20  # different whole numbers that are labels rather than scores
CLASSES = "label labels class category topic intent".split()  # names of columns of ids, however many
FIT: dict[Kind, Sequence[str]] = {
    "single": ("text", "integer", "number", "bool"),
    "multi": ("text", "list"),
    "regression": ("integer", "number"),
}


@dataclass
class Target:
    """What the label makes of a task: its kind, the keys that say so, why, and what else there is to say."""

    kind: Kind
    why: str
    keys: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def target_of(column: Column, given: Sequence[str] | None, asked: Kind | None, entry: str) -> Target:
    """Return what a label column says; given: the names that its file has for class ids.

    Raises UserError where it says nothing, or nothing of the kind asked for; entry is what that calls the file.
    """
    if asked and column.shape not in FIT[asked]:
        raise UserError(f"--kind {asked}: column {column.name} of {entry} holds {_sample(column)}")
    if column.shape == "other":
        raise UserError(f"{entry}: column {column.name} holds no labels and no scores")
    kind, why = (asked, "as asked") if asked else _kind(column, entry)
    if kind != "multi" and not given and len(column.different) == 1:
        raise UserError(f"{entry}: column {column.name} says nothing but {plain(column.values[0])!r}")
    target = Target(kind, why)
    if kind == "regression":
        _add_range(target, column)
    elif kind == "single":
        _add_names(target, column.different, given)
        if column.shape == "integer" and not given:
            scores = ", --kind regression makes scores of them" if len(column.different) > 2 else ""
            target.remarks.append(f"the labels are numbers; the YAML may give them names{scores}")
    else:
        _add_sets(target, column, given, entry)
    return target


def _kind(column: Column, entry: str) -> tuple[Kind, str]:
    if column.shape == "list":
        return "multi", "its values are lists"
    if column.shape == "bool":
        return "single", "its values are true or false"
    if column.shape == "number":
        return "regression", f"its values are numbers, as {_sample(column)}"
    different, rows = len(column.different), len(column.values)
    if column.shape == "integer":
        ids = sorted(map(int, column.different))
        in_a_row = column.name.lower() in CLASSES and ids == list(range(different)) and rows >= 5 * different
        few = in_a_row or different <= min(FEW, max(rows / 2, 5))
        return "single" if few else "regression", f"{different} different whole numbers"
    if (separator := separator_in(column)) is not None:
        return "multi", f"parts between {separator!r} recur in other combinations"
    if different > max(FEW, rows / 2):
        raise UserError(
            f"{entry}: column {column.name} has {different} different texts in {rows} rows; --label COLUMN says which "
            "other column has labels, --kind single takes it"
        )
    return "single", f"{different} different texts"


def _sample(column: Column) -> str:
    return ", ".join(shortened(str(value)) for value in column.values[:3]) or "nothing"


def separator_in(column: Column) -> str | None:
    """Return what stands between labels in text, if their parts recur: more than half stand in several combinations."""
    whole = list(dict.fromkeys(column.values[:10_000]))
    best: tuple[int, str] | None = None
    for separator in ";|,":
        combined = [parts(text, separator) for text in whole if separator in text]
        counts = Counter(part for text in whole for part in set(parts(text, separator)))
        found = {part for text in combined for part in text}
        often = sum(counts[part] > 1 for part in found)
        short = all(len(part.split()) <= 4 for part in found)
        if combined and short and 2 * often > len(found) and (best is None or len(combined) > best[0]):
            best = (len(combined), separator)
    return best[1] if best else None


def _add_range(target: Target, column: Column) -> None:
    scores = [score for score in map(float, column.different) if math.isfinite(score)]
    low, high = min(scores, default=0), max(scores, default=0)
    if (low, high) in RANGES:
        target.keys["score_range"] = [low, high]
    target.keys["standardise"] = True
    target.remarks.append(f"scores are {low:g} to {high:g}")
    if all(score.is_integer() for score in scores):
        target.remarks.append("whole numbers are taken as scores; --kind single makes labels of them")


def _add_sets(target: Target, column: Column, given: Sequence[str] | None, entry: str) -> None:
    target.keys["multi_label"] = True
    if column.shape == "list":
        rows = column.values
        places = TaskConfig(label=column.name, labels=[str(i) for i in range(len(rows[0]))])
        if not given and len(places.labels) > 1 and are_places(rows, places):
            target.keys["labels"] = places.labels
            target.remarks.append("lists of 0 and 1 are a place a label; the YAML may give them names")
            return
    else:
        if any(text.startswith(("[", "{")) for text in column.values):
            raise UserError(f"{entry}: column {column.name} holds lists as text; write them as a;b")
        separator = separator_in(column) or ","
        if separator != ",":
            target.keys["separator"] = separator
        rows = [parts(text, separator) for text in column.values]
    _add_names(target, {one for row in rows for one in row}, given)


def _add_names(target: Target, values: Collection[Any], given: Sequence[str] | None) -> None:
    """Give a target its labels' names by class id, and a label_map where numbers are neither ids nor text."""
    if given:
        target.keys["labels"] = list(given)
    elif all(isinstance(value, bool) for value in values):
        target.keys["labels"] = ["false", "true"]
    else:
        names = target.keys["labels"] = _in_order({plain(value) for value in values})
        numbers = sorted(value for value in values if not isinstance(value, str))
        if numbers and names != [str(i) for i in range(len(names))]:
            target.keys["label_map"] = {value: plain(value) for value in numbers}


def _in_order(names: Collection[str]) -> list[str]:
    """Put labels in their usual order, numbers by size and the negative one first; else by the alphabet."""
    if all(map(NUMBER.fullmatch, names)):
        return sorted(names, key=lambda name: (float(name), name))
    for order in (usual.split() for usual in ORDERS):
        if {name.lower() for name in names} <= set(order) and len({name.lower() for name in names}) == len(names):
            return sorted(names, key=lambda name: order.index(name.lower()))
    if len(names) == 2:
        for first, second in (sorted(names), sorted(names, reverse=True)):
            if re.fullmatch(NOT + re.escape(second), first, re.IGNORECASE):
                return [first, second]
    return sorted(names)
