"""What a label column says: which kind of task it is, which labels there are, and in which order."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from glue_pool.data.columns import names_in_metadata
from glue_pool.data.look.asked import Asked, Kind
from glue_pool.data.look.split import Split, different_in, first, is_text, listed, shape_of, shortened
from glue_pool.errors import UserError

ORDERS = "negative neutral positive,neg neu pos,no yes,n y,false true,f t,off on,ham spam,different same".split(",")
ORDERS += "low medium high,never sometimes always,entailment neutral contradiction,bad good,0 1".split(",")
NOT = r"(not|non|no|un|in|im|ir|dis)[ _-]?"
RANGES = {(0, 1), (-1, 1), (0, 5), (1, 5), (0, 10), (1, 10), (0, 100)}
FEW = 20  # different whole numbers that are labels rather than scores
CLASSES = "label labels class category topic intent".split()  # names of columns of ids, however many
FIT: dict[Kind, Sequence[str]] = {
    "single": ("text", "integer", "bool"),
    "multi": ("text", "list"),
    "regression": ("integer", "number"),
}


@dataclass
class Target:
    """The label of a task: its column (null: the columns of 0 and 1), kind, names and what goes with them."""

    column: str | None
    kind: Kind
    keys: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def target_of(
    splits: Sequence[Split], label: str | None, flags: Sequence[str], shapes: Mapping[str, str], asked: Asked
) -> tuple[Target, str]:
    """Return what the label column, or the columns of 0 and 1, say, and why that kind of task."""
    if label is None:
        return _of_flags(splits, flags), f"a row may have several of {len(flags)} labels"
    shape = shapes[label]
    for split in splits:
        column = split.table.column(label)
        if column.null_count:
            raise UserError(f"{split.entry}: column {label} has no value in row {first(column.is_null())}")
        own, numbers = shape_of(column), {"integer", "number"}
        if own != shape and (shape in ("bool", "list") or not (is_text(column) or {own, shape} == numbers)):
            raise UserError(
                f"{split.entry}: column {label} holds {column.type}, and other values than the other file's"
            )
    kind, why = _kind(splits, label, shape, asked)
    if kind == "multi":
        return _multi(splits, label, shape), why
    if is_text(splits[0].table.column(label)):
        for split in splits:
            column = split.table.column(label)
            if pc.any(empty := pc.equal(column, "")).as_py():
                raise UserError(f"{split.entry}: column {label} is empty in row {first(empty)}")
    return (_regression if kind == "regression" else _single)(splits, label, shape), why


def _kind(splits: Sequence[Split], label: str, shape: str, asked: Asked) -> tuple[Kind, str]:
    column = splits[0].table.column(label)
    typed = "" if is_text(column) else f"{column.type}, "
    if asked.kind:
        as_labels = shape == "number" and asked.kind == "single" and (not typed or _whole(splits, label))
        if shape not in FIT[asked.kind] and not as_labels:
            raise UserError(
                f"--kind {asked.kind}: column {label} of {splits[0].entry} holds {typed}as {_values(column)}"
            )
        return asked.kind, "as asked"
    if shape == "other":
        raise UserError(f"{splits[0].entry}: column {label} holds {column.type}: no labels and no scores")
    if shape == "list":
        return "multi", "its values are lists"
    different = different_in(column)
    if shape == "bool":
        return "single", "its values are true or false"
    if shape == "number":
        return "regression", f"its values are numbers, as {_values(column)}"
    if shape == "integer":
        ids = sorted(map(int, pc.unique(column).to_pylist()))
        in_a_row = label.lower() in CLASSES and ids == list(range(different)) and len(column) >= 5 * different
        if in_a_row or different <= min(FEW, max(len(column) / 2, 5)):
            return "single", f"{different} different whole numbers"
        return "regression", f"{different} different whole numbers"
    if (separator := separator_in(column)) is not None:
        return "multi", f"parts between {separator!r} recur in other combinations"
    if different > max(FEW, len(column) / 2):
        raise UserError(
            f"{splits[0].entry}: column {label} has {different} different texts in {len(column)} rows; --label COLUMN "
            "says which other column has labels, --kind single takes it"
        )
    return "single", f"{different} different texts"


def _whole(splits: Sequence[Split], label: str) -> bool:
    """Whether scores are whole numbers in all but type, as 1.0."""
    scores = [split.table.column(label).cast(pa.float64()) for split in splits]
    return all(pc.all(pc.equal(column, pc.floor(column))).as_py() for column in scores)


def _values(column: Any) -> str:
    return ", ".join(shortened(str(value)) for value in column.slice(0, 3).to_pylist())


def separator_in(column: Any) -> str | None:
    """Return what stands between labels in text, if their parts recur: more than half stand in several combinations."""
    whole = [text for text in pc.unique(column.slice(0, 10_000)).to_pylist() if text]
    best: tuple[int, str] | None = None
    for separator in ";|,":
        combined = [_parts(text, separator) for text in whole if separator in text]
        counts = Counter(part for text in whole for part in set(_parts(text, separator)))
        parts = {part for text in combined for part in text}
        often = sum(counts[part] > 1 for part in parts)
        short = all(len(part.split()) <= 4 for part in parts)
        if combined and short and 2 * often > len(parts) and (best is None or len(combined) > best[0]):
            best = (len(combined), separator)
    return best[1] if best else None


def _parts(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _single(splits: Sequence[Split], label: str, shape: str) -> Target:
    counts = {split.name: _counted(split.table.column(label), shape) for split in splits}
    target = _named(Target(label, "single"), splits, counts, shape)
    names = target.keys["labels"]
    if len(names) < 2:
        raise UserError(
            f"{splits[0].entry}: column {label} says {names[0]!r} in every row; a task has two labels or more"
        )
    if shape == "integer" and names[0].lstrip("-").isdecimal():
        target.remarks.append(
            "the labels are numbers; the YAML may give them names"
            + (", --kind regression makes scores of them" if len(names) > 2 else "")
        )
    return target


def _counted(column: Any, shape: str) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for pair in pc.value_counts(column).to_pylist():
        value = pair["values"]
        found[int(value) if shape == "integer" or isinstance(value, float) else value] += pair["counts"]
    return found


def _named(target: Target, splits: Sequence[Split], counts: Mapping[str, Counter[Any]], shape: str) -> Target:
    """Give a target its labels' names, by class id, what the data say for them, and the rows of each."""
    values = sorted(set().union(*counts.values()))
    given = names_in_metadata(splits[0].table.schema, target.column)
    if given and set(values) <= set(range(len(given))):
        said: dict[Any, str] = dict(enumerate(given))
    else:
        if all(isinstance(value, str) for value in values):
            values = _ordered(values)
        said = {value: str(value).lower() if isinstance(value, bool) else str(value) for value in values}
        if shape != "bool" and not isinstance(values[0], str) and values != list(range(len(values))):
            target.keys["label_map"] = said
    target.keys["labels"] = list(said.values())
    for split in splits:
        target.counts[split.name] = {name: counts[split.name][value] for value, name in said.items()}
    if new := [name for name in said.values() if not target.counts[splits[0].name][name]]:
        target.remarks.append(f"no row of {splits[0].entry} has {listed(new)}")
    return target


def _ordered(names: Sequence[str]) -> list[str]:
    """Put labels in their usual order, the negative one first; else by the alphabet."""
    for order in (usual.split() for usual in ORDERS):
        if {name.lower() for name in names} <= set(order) and len({name.lower() for name in names}) == len(names):
            return sorted(names, key=lambda name: order.index(name.lower()))
    if len(names) == 2:
        for first, second in (names, reversed(names)):
            if re.fullmatch(NOT + re.escape(second), first, re.IGNORECASE):
                return [first, second]
    return sorted(names)


def _multi(splits: Sequence[Split], label: str, shape: str) -> Target:
    target = Target(label, "multi")
    rows = {split.name: split.table.column(label).to_pylist() for split in splits}
    if shape != "list":
        separator = target.keys["separator"] = separator_in(splits[0].table.column(label)) or ","
        for split in splits:
            if any(text.startswith(("[", "{")) for text in rows[split.name]):
                raise UserError(f"{split.entry}: column {label} holds lists as text; write them as a{separator}b")
            rows[split.name] = [_parts(text, separator) for text in rows[split.name]]
    places = _places(rows.values())
    if places:
        rows = {name: [[i for i in places if row[i]] for row in of_split] for name, of_split in rows.items()}
        target.remarks.append("lists of 0 and 1 are a place a label; the YAML may give them names")
    counts = {name: Counter(value for row in of_split for value in set(row)) for name, of_split in rows.items()}
    counts[splits[0].name].update(dict.fromkeys(places, 0))
    kinds = {type(value) for count in counts.values() for value in count}
    if kinds not in ({str}, {int}):
        what = "has no label in any row" if not kinds else "holds lists of other things than texts or whole numbers"
        raise UserError(f"{splits[0].entry}: column {label} {what}")
    return _named(target, splits, counts, shape)


def _places(splits: Iterable[Sequence[Any]]) -> Sequence[int]:
    """Return the places of lists that have a 0 or a 1 for every label; as ids, one would stand there twice."""
    rows = [row for split in splits for row in split]
    size = len(rows[0])
    of_ones = all(len(row) == size and set(row) <= {0, 1} for row in rows)
    return range(size) if of_ones and any(len(set(row)) < size for row in rows) else ()


def _of_flags(splits: Sequence[Split], flags: Sequence[str]) -> Target:
    target = Target(None, "multi", {"labels": list(flags)})
    for split in splits:
        target.counts[split.name] = {}
        for flag in flags:
            column = split.table.column(flag)
            said = Counter(str(value).lower() for value in column.to_pylist())
            if other := set(said) - {"0", "1", "false", "true"}:
                raise UserError(f"{split.entry}: column {flag} holds {min(other)!r}, not only 0 and 1")
            target.counts[split.name][flag] = said["1"] + said["true"]
    return target


def _regression(splits: Sequence[Split], label: str, shape: str) -> Target:
    target, bounds = Target(label, "regression", {"labels": []}), []
    for split in splits:
        scores = split.table.column(label).cast(pa.float64())
        if not pc.all(pc.is_finite(scores)).as_py():
            raise UserError(
                f"{split.entry}: column {label} has no finite number in row {first(pc.invert(pc.is_finite(scores)))}"
            )
        bounds += [pc.min(scores).as_py(), pc.max(scores).as_py()]
    low, high = min(bounds), max(bounds)
    if low == high:
        raise UserError(f"{splits[0].entry}: column {label} says {low:g} in every row: no scores to learn")
    if (low, high) in RANGES:
        target.keys["score_range"] = [low, high]
    target.keys["standardise"] = True
    target.remarks.append(f"scores are {low:g} to {high:g}")
    if _whole(splits, label):
        target.remarks.append("whole numbers are taken as scores; --kind single makes labels of them")
    return target
