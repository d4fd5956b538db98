"""Which columns are the label, the texts and the idx: by their names, else by what is in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from glue_pool.data.look.asked import Asked
from glue_pool.data.look.labels import FEW, separator_in
from glue_pool.data.look.split import Split, different_in, fields, is_text, listed, shape_of
from glue_pool.errors import UserError, nearest

LABELS = "label labels gold_label class target y".split()  # names of label columns; after them, less certain ones
OR_LABELS = "category categories topic topics genre genres tags intent emotion emotions sentiment stars rating".split()
OR_LABELS += "score scores grade similarity relatedness answer verdict".split()
PAIRS = "sentence1 sentence2,premise hypothesis,question passage,question sentence,question context".split(",")
PAIRS += "question1 question2,query document,query passage,claim evidence,text1 text2,text_a text_b".split(",")
TEXTS = "text sentence review comment comment_text message content utterance tweet document body".split()
IDX = "idx id index".split()


def label_column(train: Split, shapes: Mapping[str, str], asked: Asked) -> tuple[str | None, str]:
    """Return the label column, or null where columns of 0 and 1 are labels, and why."""
    table, names = train.table, list(shapes)
    if asked.label is not None:
        if asked.label not in names:
            near, there = nearest(asked.label, names), listed(names)
            raise UserError(f"--label {asked.label}: {train.entry} has no such column{near} (there are {there})")
        return asked.label, "as asked"
    texts = {column for text in asked.texts for column in fields(text)}
    left = [name for name in names if name not in texts and shapes[name] != "other" and name != asked.idx]
    free = [name for name in left if shapes[name] == "text" and _free(table.column(name))]
    for common in (LABELS, OR_LABELS):
        named = [name for name in left if name.lower() in common and name not in free]
        if len(named) == 1:
            return named[0], "by its name"
        if named:
            raise UserError(f"{train.entry}: {' or '.join(named)}? --label COLUMN says which one is the label")
    flags = flag_columns(train, shapes) if asked.kind in (None, "multi") else []
    candidates = [name for name in left if name not in free and _could_be_label(table, name, shapes[name])]
    if len(flags) > 1 and (set(candidates) <= set(flags) or asked.kind == "multi"):
        return None, f"the {len(flags)} columns of 0 and 1"
    if len(candidates) == 1:
        return candidates[0], "the only column of few different values" if shapes[candidates[0]] != "number" else (
            "the only column of numbers"
        )
    ways = "--label COLUMN says which" + (", --kind multi makes labels of the columns of 0 and 1" if flags[1:] else "")
    if candidates:
        raise UserError(f"{train.entry}: the label could be {listed(candidates)}; {ways}")
    raise UserError(
        f"{train.entry}: none of its columns ({listed(names)}) looks like a label; --label COLUMN says which"
    )


def _could_be_label(table: Any, name: str, shape: str) -> bool:
    if name.lower() in IDX or not name:
        return False
    if shape in ("list", "bool", "number"):
        return True
    different = different_in(table.column(name))
    return 1 < different <= max(len(table) / 2, 2) and (shape == "text" or different <= FEW)


def flag_columns(train: Split, shapes: Mapping[str, str]) -> list[str]:
    """Return the columns that hold nothing but 0 and 1."""
    found = []
    for name, shape in shapes.items():
        column = train.table.column(name)
        if shape == "bool" or (
            shape == "integer" and {str(value) for value in pc.unique(column).to_pylist()} <= {"0", "1"}
        ):
            found.append(name)
    return found


def text_columns(train: Split, shapes: Mapping[str, str], asked: Asked, taken: Sequence[str]) -> tuple[list[str], str]:
    """Return one text or two, columns or templates, and why these."""
    table, names = train.table, list(shapes)
    if asked.texts:
        if len(asked.texts) > 2:
            raise UserError(
                f"--text {' '.join(asked.texts)}: one text or two; a template joins columns, '{{a}}: {{b}}'"
            )
        for column in (column for text in asked.texts for column in fields(text)):
            if column not in names:
                near, there = nearest(column, names), listed(names)
                raise UserError(f"--text {column}: {train.entry} has no such column{near} (there are {there})")
            if column in taken:
                raise UserError(f"--text {column}: this is the label; --label COLUMN says which other column is")
        return list(asked.texts), "as asked"
    left = {name.lower(): name for name in names if name not in taken and is_text(table.column(name))}
    for pair in PAIRS:
        first, second = pair.split()
        if first in left and second in left:
            return [left[first], left[second]], "by their names"
    for text in TEXTS:
        if text in left and shapes[left[text]] == "text":
            return [left[text]], "by its name"
    free = [name for name in left.values() if shapes[name] == "text" and _free(table.column(name))]
    rest = [name for name in left.values() if shapes[name] == "text"]
    if not free and len(rest) == 1:
        return rest, "the only column of text"
    if 1 <= len(free) <= 2:
        return free, "the only column of free text" if len(free) == 1 else "the only two columns of free text"
    if free:
        raise UserError(f"{train.entry}: the texts could be {listed(free)}; --text COLUMN says which, one or two")
    raise UserError(f"{train.entry}: none of its columns ({listed(names)}) looks like text; --text COLUMN says which")


def _free(column: Any) -> bool:
    """Whether a column holds free text: several words a row, and seldom the same ones."""
    if not is_text(column):
        return False
    words = pc.mean(pc.count_substring_regex(column, pattern=r"\S+")).as_py() or 0
    different = different_in(column)
    return words >= 2 and different > min(FEW, len(column) / 2) and separator_in(column) is None


def idx_column(splits: Sequence[Split], asked: str | None, taken: Sequence[str | None]) -> tuple[str | None, str]:
    """Return the column that rows go by, null for none, and why."""
    names = splits[0].table.column_names
    if asked is not None and asked not in names:
        there = listed(names)
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
    filled = not column.null_count and not (is_text(column) and pc.any(pc.equal(column, "")).as_py())
    return filled and shape_of(column) == "integer" and different_in(column) == len(column)
