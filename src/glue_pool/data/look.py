"""What files of rows say of the task in them: which columns are its texts and its label, and what kind it is.

A guess comes with its reason, and gives way to what is asked for; where several are as good, there is none.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from glue_pool.data import files
from glue_pool.errors import UserError, nearest

Kind = Literal["single", "multi", "regression"]
KINDS: tuple[Kind, ...] = ("single", "multi", "regression")
SPLITS = ("train", "dev", "test")
LONG = 128  # words

LABELS = "label labels gold_label class target y".split()  # names of label columns; after them, less certain ones
CLASSES = "label labels class category topic intent".split()  # names of columns of ids, however many
OR_LABELS = "category categories topic topics genre genres tags intent emotion emotions sentiment stars rating".split()
OR_LABELS += "score scores grade similarity relatedness answer verdict".split()
PAIRS = "sentence1 sentence2,premise hypothesis,question passage,question sentence,question context".split(",")
PAIRS += "question1 question2,query document,query passage,claim evidence,text1 text2,text_a text_b".split(",")
TEXTS = "text sentence review comment comment_text message content utterance tweet document body".split()
IDX = "idx id index".split()
ORDERS = "negative neutral positive,neg neu pos,no yes,n y,false true,f t,off on,ham spam,different same".split(",")
ORDERS += "low medium high,never sometimes always,entailment neutral contradiction,bad good,0 1".split(",")
NOT = r"(not|non|no|un|in|im|ir|dis)[ _-]?"
RANGES = {(0, 1), (-1, 1), (0, 5), (1, 5), (0, 10), (1, 10), (0, 100)}
FEW = 20  # different whole numbers that are labels rather than scores
METRICS = {
    "two": ["accuracy", "f1", "matthews_correlation"],
    "single": ["accuracy", "f1_macro"],
    "multi": ["f1_micro", "f1_macro", "accuracy"],
    "regression": ["pearson", "spearmanr", "mean_squared_error"],
}


@dataclass(frozen=True)
class Asked:
    """What is not to be guessed."""

    texts: Sequence[str] = ()
    label: str | None = None
    kind: Kind | None = None
    idx: str | None = None
    dev_share: float | None = None


@dataclass(frozen=True)
class Seen:
    """A split: its rows, the rows of each label, and the rows with long, empty and (in train) repeated texts."""

    name: str
    file: str
    rows: int
    labels: Mapping[str, int]
    long: int
    empty: int
    repeated: int


@dataclass(frozen=True)
class Findings:
    """The keys of a task (`glue_pool.schema.TaskConfig`) that differ from the defaults, and what led to them.

    reasons: why these texts, this label, this kind. remarks: what the user may want to know or to change.
    """

    task: dict[str, Any]
    columns: Sequence[str]
    reasons: Mapping[str, str]
    splits: Mapping[str, Seen]
    remarks: Sequence[str]


@dataclass
class _Split:
    name: str
    entry: str
    table: Any
    quotes: bool = True


@dataclass
class _Target:
    """The label of a task: its column (null: the columns of 0 and 1), kind, names and what goes with them."""

    column: str | None
    kind: Kind
    keys: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def look(name: str, entries: Sequence[str], asked: Asked) -> Findings:
    """Look at a train file, and at a dev and a test file if there are any; a file may be a glob of shards.

    Raises UserError where a file can't be read, or a guess would be one of several.
    """
    if len(entries) > 1 and asked.dev_share is not None:
        raise UserError(f"--dev-share {asked.dev_share:g}: the dev rows are those of {entries[1]}; leave one out")
    splits = [_read(split, entry) for split, entry in zip(SPLITS, entries, strict=False)]
    train, scored = splits[0], splits[:2]
    if not (asked.texts and asked.label):
        _check_header(train)
    names = list(train.table.column_names)
    shapes = {column: _shape([split.table for split in scored], column) for column in names}
    label, why_label = _label(train, shapes, asked)
    flags = [] if label else _flags(train, shapes)
    texts, why_texts = _texts(train, shapes, asked, [label] if label else flags)
    used = [column for text in texts for column in fields(text, names)]
    for column in (*used, *([label] if label else flags)):
        for split in splits if column in used else scored:
            if column not in split.table.column_names:
                there = _listed(split.table.column_names)
                raise UserError(f"{split.entry}: no column {column}; the columns are {there}")
    for split in splits:
        for column in used:
            _check_text(split, column)
    target, why_kind = _target(scored, label, flags, shapes, asked)
    idx, why_idx = _idx(splits, asked.idx, [*used, label])
    remarks = list(target.remarks)
    if not all(split.quotes for split in splits):
        remarks.append("quotes are read as part of the texts: as marks around them they do not pair")
    task = _task(name, splits, texts, target, idx, asked)
    train_texts = _joined(train.table, used)
    seen = {}
    for split in splits:
        joined = _joined(split.table, used)
        words = pc.count_substring_regex(joined, pattern=r"\S+")
        if split is train:
            repeated = len(joined) - pc.count_distinct(joined).as_py()
        else:
            repeated = pc.sum(pc.is_in(joined, value_set=train_texts)).as_py()
        empty = pa.nulls(len(joined), pa.bool_()).fill_null(False)
        for column in used:
            empty = pc.or_(empty, pc.equal(pc.utf8_trim_whitespace(split.table.column(column)), ""))
        seen[split.name] = Seen(
            split.name,
            split.entry,
            len(split.table),
            target.counts.get(split.name, {}),
            pc.sum(pc.greater(words, LONG)).as_py(),
            pc.sum(empty).as_py(),
            repeated,
        )
    reasons = {"texts": why_texts, "label": why_label, "kind": why_kind, "idx": why_idx}
    return Findings(task, names, reasons, seen, remarks)


def fields(text: str, columns: Iterable[str]) -> list[str]:
    """Return the columns of a text: its own, or those of a template such as `{title}: {body}`."""
    if text in columns or "{" not in text:
        return [text]
    try:
        found = [name for _, name, _, _ in string.Formatter().parse(text) if name]
    except ValueError as error:
        raise UserError(
            f"--text {text}: no template ({error}); it takes columns in braces, as '{{a}}: {{b}}'"
        ) from None
    return found or [text]


def _read(name: str, entry: str) -> _Split:
    shards = files.expand(entry)
    try:
        table, quotes = files.read_tables(shards), True
    except UserError as error:
        if not _separated(shards):
            raise
        try:  # a quote in a text that nothing is to be made of
            table, quotes = files.read_tables(shards, quotes=False), False
        except UserError:
            raise error from None
    if _separated(shards) and quotes and _swallows(table, shards):
        table, quotes = files.read_tables(shards, quotes=False), False
    repeated = [column for column, count in Counter(table.column_names).items() if count > 1]
    if repeated:
        raise UserError(f"{entry}: several columns are called {repeated[0]!r}")
    if not len(table):
        raise UserError(f"{entry}: there are no rows in it")
    for i, column in enumerate(table.column_names):
        kind = table.schema.field(i).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        wanted = pa.large_string() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else kind
        table = table.set_column(i, column, table.column(i).cast(wanted))
    return _Split(name, entry, table, quotes)


def _separated(shards: Sequence[Path]) -> bool:
    return all(re.search(r"\.[ct]sv(\.gz)?$", file.name) for file in shards)


def _swallows(table: Any, shards: Sequence[Path]) -> bool:
    """Whether texts between quotes hold line breaks and separators, and are rows themselves where quotes are text."""
    inside = r"\n[^\n]*" + ("\t" if ".tsv" in shards[0].name else ",")
    columns = table.columns if table.num_columns > 1 else []
    if not any(pc.any(pc.match_substring_regex(column, inside)).as_py() for column in columns):
        return False
    try:
        return len(files.read_tables(shards, quotes=False)) > len(table)
    except UserError:
        return False


def _check_header(split: _Split) -> None:
    for column in split.table.column_names:
        if _separated([Path(split.entry)]) and (len(column) > 60 or re.fullmatch(r"-?\d+(\.\d+)?", column)):
            raise UserError(
                f"{split.entry}: its first line has no column names but {_short(column)!r}; put a line such as "
                "text,label before it"
            )


def _shape(tables: Sequence[Any], column: str) -> str:
    """Say what a column holds: list, bool, integer, number, text or other; the widest of the splits' that have it."""
    order = ["integer", "number", "text", "bool", "list", "other"]
    there = [table.column(column) for table in tables if column in table.column_names]
    return max((_shape_of(column) for column in there), key=order.index)


def _shape_of(column: Any) -> str:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "list"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "number"
    if not _is_text(column):
        return "other"
    filled = column.filter(pc.not_equal(column, ""))
    if not len(filled):
        return "other"
    for shape, pattern in (("integer", r"^-?\d+$"), ("number", r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")):
        if pc.all(pc.match_substring_regex(filled, pattern)).as_py():
            return shape
    return "text"


def _is_text(column: Any) -> bool:
    return bool(pa.types.is_large_string(column.type))


def _different(column: Any) -> int:
    return int(pc.count_distinct(column, mode="all").as_py())


def _free(column: Any) -> bool:
    """Whether a column holds free text: several words a row, and seldom the same ones."""
    if not _is_text(column):
        return False
    words = pc.mean(pc.count_substring_regex(column, pattern=r"\S+")).as_py() or 0
    different = _different(column)
    return words >= 2 and different > min(FEW, len(column) / 2) and _separator(column) is None


def _label(train: _Split, shapes: Mapping[str, str], asked: Asked) -> tuple[str | None, str]:
    """Return the label column, or null where columns of 0 and 1 are labels, and why."""
    table, names = train.table, list(shapes)
    if asked.label is not None:
        if asked.label not in names:
            near, there = nearest(asked.label, names), _listed(names)
            raise UserError(f"--label {asked.label}: {train.entry} has no such column{near} (there are {there})")
        return asked.label, "as asked"
    texts = {column for text in asked.texts for column in fields(text, names)}
    left = [name for name in names if name not in texts and shapes[name] != "other" and name != asked.idx]
    free = [name for name in left if shapes[name] == "text" and _free(table.column(name))]
    for common in (LABELS, OR_LABELS):
        named = [name for name in left if name.lower() in common and name not in free]
        if len(named) == 1:
            return named[0], "by its name"
        if named:
            raise UserError(f"{train.entry}: {' or '.join(named)}? --label COLUMN says which one is the label")
    flags = _flags(train, shapes) if asked.kind in (None, "multi") else []
    candidates = [name for name in left if name not in free and _could_be_label(table, name, shapes[name])]
    if len(flags) > 1 and (set(candidates) <= set(flags) or asked.kind == "multi"):
        return None, f"the {len(flags)} columns of 0 and 1"
    if len(candidates) == 1:
        return candidates[0], "the only column of few different values" if shapes[candidates[0]] != "number" else (
            "the only column of numbers"
        )
    ways = "--label COLUMN says which" + (", --kind multi makes labels of the columns of 0 and 1" if flags[1:] else "")
    if candidates:
        raise UserError(f"{train.entry}: the label could be {_listed(candidates)}; {ways}")
    raise UserError(
        f"{train.entry}: none of its columns ({_listed(names)}) looks like a label; --label COLUMN says which"
    )


def _could_be_label(table: Any, name: str, shape: str) -> bool:
    if name.lower() in IDX or not name:
        return False
    if shape in ("list", "bool", "number"):
        return True
    different = _different(table.column(name))
    return 1 < different <= max(len(table) / 2, 2) and (shape == "text" or different <= FEW)


def _flags(train: _Split, shapes: Mapping[str, str]) -> list[str]:
    """Return the columns that hold nothing but 0 and 1."""
    found = []
    for name, shape in shapes.items():
        column = train.table.column(name)
        if shape == "bool" or (
            shape == "integer" and {str(value) for value in pc.unique(column).to_pylist()} <= {"0", "1"}
        ):
            found.append(name)
    return found


def _texts(train: _Split, shapes: Mapping[str, str], asked: Asked, taken: Sequence[str]) -> tuple[list[str], str]:
    """Return one text or two, columns or templates, and why these."""
    table, names = train.table, list(shapes)
    if asked.texts:
        if len(asked.texts) > 2:
            raise UserError(
                f"--text {' '.join(asked.texts)}: one text or two; a template joins columns, '{{a}}: {{b}}'"
            )
        for column in (column for text in asked.texts for column in fields(text, names)):
            if column not in names:
                near, there = nearest(column, names), _listed(names)
                raise UserError(f"--text {column}: {train.entry} has no such column{near} (there are {there})")
            if column in taken:
                raise UserError(f"--text {column}: this is the label; --label COLUMN says which other column is")
        return list(asked.texts), "as asked"
    left = {name.lower(): name for name in names if name not in taken and _is_text(table.column(name))}
    for pair in PAIRS:
        first, second = pair.split()
        if first in left and second in left:
            return [left[first], left[second]], "by their names"
    for text in TEXTS:
        if text in left and shapes[left[text]] == "text":
            return [left[text]], "by its name"
    free = [name for name in left.values() if shapes[name] == "text" and _free(table.column(name))]
    if 1 <= len(free) <= 2:
        return free, "the only column of free text" if len(free) == 1 else "the only two columns of free text"
    if free:
        raise UserError(f"{train.entry}: the texts could be {_listed(free)}; --text COLUMN says which, one or two")
    raise UserError(f"{train.entry}: none of its columns ({_listed(names)}) looks like text; --text COLUMN says which")


def _check_text(split: _Split, column: str) -> None:
    values = split.table.column(column)
    if not _is_text(values):
        raise UserError(f"{split.entry}: column {column} holds {values.type}, not text")
    if values.null_count:
        raise UserError(f"{split.entry}: column {column} has no value in row {_first(values.is_null())}")


def _first(mask: Any) -> int:
    return int(pc.index(mask, True).as_py())


def _target(
    splits: Sequence[_Split], label: str | None, flags: Sequence[str], shapes: Mapping[str, str], asked: Asked
) -> tuple[_Target, str]:
    if label is None:
        return _of_flags(splits, flags), f"a row may have several of {len(flags)} labels"
    shape = shapes[label]
    for split in splits:
        column = split.table.column(label)
        if column.null_count:
            raise UserError(f"{split.entry}: column {label} has no value in row {_first(column.is_null())}")
        own, numbers = _shape_of(column), {"integer", "number"}
        if own != shape and (shape in ("bool", "list") or not (_is_text(column) or {own, shape} == numbers)):
            raise UserError(
                f"{split.entry}: column {label} holds {column.type}, and other values than the other file's"
            )
    kind, why = _kind(splits, label, shape, asked)
    if kind == "multi":
        return _multi(splits, label, shape), why
    if _is_text(splits[0].table.column(label)):
        for split in splits:
            column = split.table.column(label)
            if pc.any(empty := pc.equal(column, "")).as_py():
                raise UserError(f"{split.entry}: column {label} is empty in row {_first(empty)}")
    return (_regression if kind == "regression" else _single)(splits, label, shape), why


def _kind(splits: Sequence[_Split], label: str, shape: str, asked: Asked) -> tuple[Kind, str]:
    column = splits[0].table.column(label)
    typed = "" if _is_text(column) else f"{column.type}, "
    fit: dict[Kind, Sequence[str]] = {
        "single": ("text", "integer", "bool", *(["number"] if not typed else [])),
        "multi": ("text", "list"),
        "regression": ("integer", "number"),
    }
    if asked.kind:
        if shape not in fit[asked.kind]:
            raise UserError(f"--kind {asked.kind}: column {label} of {splits[0].entry} holds {typed}{_values(column)}")
        return asked.kind, "as asked"
    if shape == "other":
        raise UserError(f"{splits[0].entry}: column {label} holds {column.type}: no labels and no scores")
    if shape == "list":
        return "multi", "its values are lists"
    different = _different(column)
    if shape == "bool":
        return "single", "its values are true or false"
    if shape == "number":
        return "regression", "its values are numbers with fractions"
    if shape == "integer":
        ids = sorted(map(int, pc.unique(column).to_pylist()))
        in_a_row = label.lower() in CLASSES and ids == list(range(different)) and len(column) >= 5 * different
        if in_a_row or different <= min(FEW, max(len(column) / 2, 5)):
            return "single", f"{different} different whole numbers"
        return "regression", f"{different} different whole numbers"
    if (separator := _separator(column)) is not None:
        return "multi", f"parts between {separator!r} recur in other combinations"
    if different > max(FEW, len(column) / 2):
        raise UserError(
            f"{splits[0].entry}: column {label} has {different} different texts in {len(column)} rows; --label COLUMN "
            "says which other column has labels, --kind single takes it"
        )
    return "single", f"{different} different texts"


def _values(column: Any) -> str:
    return "as " + ", ".join(_short(str(value)) for value in column.slice(0, 3).to_pylist())


def _separator(column: Any) -> str | None:
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


def _single(splits: Sequence[_Split], label: str, shape: str) -> _Target:
    counts = {split.name: _counted(split.table.column(label), shape) for split in splits}
    target = _named(_Target(label, "single"), splits, counts, shape)
    names = target.keys["labels"]
    if len(names) < 2:
        raise UserError(
            f"{splits[0].entry}: column {label} says {names[0]!r} in every row; a task has two labels or more"
        )
    if shape == "integer":
        target.remarks.append(
            "the labels are numbers; the YAML may give them names"
            + (", --kind regression makes scores of them" if len(names) > 2 else "")
        )
    return target


def _counted(column: Any, shape: str) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for pair in pc.value_counts(column).to_pylist():
        found[int(pair["values"]) if shape == "integer" else pair["values"]] += pair["counts"]
    return found


def _named(target: _Target, splits: Sequence[_Split], counts: Mapping[str, Counter[Any]], shape: str) -> _Target:
    """Give a target its labels' names, by class id, what the data say for them, and the rows of each."""
    values = sorted(set().union(*counts.values()))
    if all(isinstance(value, str) for value in values):
        values = _ordered(values)
    said = {value: str(value).lower() if isinstance(value, bool) else str(value) for value in values}
    target.keys["labels"] = list(said.values())
    if shape != "bool" and not isinstance(values[0], str) and values != list(range(len(values))):
        target.keys["label_map"] = said
    for split in splits:
        target.counts[split.name] = {name: counts[split.name][value] for value, name in said.items()}
    if new := [name for name in said.values() if not target.counts[splits[0].name][name]]:
        target.remarks.append(f"no row of {splits[0].entry} has {_listed(new)}")
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


def _multi(splits: Sequence[_Split], label: str, shape: str) -> _Target:
    target, counts = _Target(label, "multi"), {}
    separator = None if shape == "list" else _separator(splits[0].table.column(label)) or ","
    if separator:
        target.keys["separator"] = separator
    for split in splits:
        rows = split.table.column(label).to_pylist()
        if separator and any(text.startswith(("[", "{")) for text in rows):
            raise UserError(f"{split.entry}: column {label} holds lists as text; write them as a{separator}b")
        sets = [set(_parts(row, separator)) if separator else set(row) for row in rows]
        counts[split.name] = Counter(value for row in sets for value in row)
        if not all(isinstance(value, str | int) for value in counts[split.name]):
            raise UserError(f"{split.entry}: column {label} holds lists of other things than texts and whole numbers")
    kinds = {type(value) for count in counts.values() for value in count}
    if len(kinds) != 1:
        raise UserError(
            f"{splits[0].entry}: column {label} {'has no label in any row' if not kinds else 'mixes types'}"
        )
    return _named(target, splits, counts, shape)


def _of_flags(splits: Sequence[_Split], flags: Sequence[str]) -> _Target:
    target = _Target(None, "multi", {"labels": list(flags)})
    for split in splits:
        target.counts[split.name] = {}
        for flag in flags:
            column = split.table.column(flag)
            said = Counter(str(value).lower() for value in column.to_pylist())
            if other := set(said) - {"0", "1", "false", "true"}:
                raise UserError(f"{split.entry}: column {flag} holds {min(other)!r}, not only 0 and 1")
            target.counts[split.name][flag] = said["1"] + said["true"]
    return target


def _regression(splits: Sequence[_Split], label: str, shape: str) -> _Target:
    target, bounds = _Target(label, "regression", {"labels": []}), []
    for split in splits:
        scores = split.table.column(label).cast(pa.float64())
        if not pc.all(pc.is_finite(scores)).as_py():
            raise UserError(
                f"{split.entry}: column {label} has no finite number in row {_first(pc.invert(pc.is_finite(scores)))}"
            )
        bounds += [pc.min(scores).as_py(), pc.max(scores).as_py()]
    low, high = min(bounds), max(bounds)
    if low == high:
        raise UserError(f"{splits[0].entry}: column {label} says {low:g} in every row: no scores to learn")
    if (low, high) in RANGES:
        target.keys["score_range"] = [low, high]
    target.keys["standardise"] = True
    target.remarks.append(f"scores are {low:g} to {high:g}")
    if shape == "integer":
        target.remarks.append("whole numbers are taken as scores; --kind single makes labels of them")
    return target


def _idx(splits: Sequence[_Split], asked: str | None, taken: Sequence[str | None]) -> tuple[str | None, str]:
    """Return the column that rows go by, null for none, and why."""
    names = splits[0].table.column_names
    if asked is not None and asked not in names:
        there = _listed(names)
        raise UserError(
            f"--idx {asked}: {splits[0].entry} has no such column{nearest(asked, names)} (there are {there})"
        )
    named = [name for common in IDX for name in names if name.lower() == common and name not in taken]
    for name in [asked] if asked is not None else named:
        if all(_numbers_rows(split.table, name) for split in splits):
            return name, "as asked" if asked else "by its name"
    if asked is not None:
        raise UserError(f"--idx {asked}: it is not a whole number of its own in every row of every file")
    return None, ""


def _numbers_rows(table: Any, name: str) -> bool:
    if name not in table.column_names:
        return False
    column = table.column(name)
    filled = not column.null_count and not (_is_text(column) and pc.any(pc.equal(column, "")).as_py())
    return filled and _shape_of(column) == "integer" and _different(column) == len(column)


def _task(
    name: str, splits: Sequence[_Split], texts: Sequence[str], target: _Target, idx: str | None, asked: Asked
) -> dict[str, Any]:
    source: dict[str, Any] = {"files": {split.name: str(Path(split.entry).expanduser().absolute()) for split in splits}}
    if any(not split.quotes for split in splits):
        source["quotes"] = False
    task: dict[str, Any] = {"name": name, "source": source, "columns": list(texts)}
    if target.column != "label":
        task["label"] = target.column
    if idx != "idx" and (idx or any("idx" in split.table.column_names for split in splits)):
        task["idx"] = idx
    if target.kind == "multi":
        task["multi_label"] = True
    task |= {key: value for key, value in target.keys.items() if value and (key, value) != ("separator", ",")}
    metrics = METRICS["two" if target.kind == "single" and len(target.keys["labels"]) == 2 else target.kind]
    task |= {"metrics": metrics, "primary_metric": metrics[0], "dev_splits": ["dev"]}
    if len(splits) == 1:
        task["dev_share"] = asked.dev_share if asked.dev_share is not None else 0.1
    if len(splits) == 3:
        task["test_splits"] = ["test"]
    return task


def _joined(table: Any, columns: Sequence[str]) -> Any:
    """Return the rows' texts, a string a row."""
    return pc.binary_join_element_wise(*(table.column(name) for name in columns), pa.scalar("\n", pa.large_string()))


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return ", ".join(map(_short, every[:12])) + (f" and {len(every) - 12} more" if len(every) > 12 else "")


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:29]}…"
