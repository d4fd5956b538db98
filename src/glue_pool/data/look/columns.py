"""Which columns are the label, the texts and the idx: by their names, else by what is in them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from glue_pool.data.columns import FIELD
from glue_pool.data.look.labels import FEW, Kind, separator_in
from glue_pool.data.look.tables import Column, Table, column_of, listed
from glue_pool.errors import UserError, nearest

LABELS = "label labels gold_label class target y".split()  # names of label columns; after them, less certain ones
OR_LABELS = "category categories topic topics genre genres tags intent emotion emotions sentiment stars rating".split()
OR_LABELS += "score scores grade similarity relatedness answer verdict".split()
PAIRS = "sentence1 sentence2,premise hypothesis,question passage,question sentence,question context".split(",")
PAIRS += "question1 question2,query document,query passage,claim evidence,text1 text2,text_a text_b".split(",")
TEXTS = "text sentence review comment comment_text message content utterance tweet document body".split()
IDX = "idx id index".split()

Columns = Mapping[str, Column]


@dataclass(frozen=True)
class Asked:
    """What of a task is said on the command line, and so not guessed."""

    texts: Sequence[str] = ()
    label: str | None = None
    kind: Kind | None = None
    idx: str | None = None
    dev_share: float | None = None


def check_asked(asked: Asked, columns: Columns, entry: str) -> None:
    """Refuse options that name columns which the train file lacks, or one for a text and the label."""
    texts = [("--text", name) for name in fields(asked.texts)]
    for option, name in (*texts, ("--label", asked.label), ("--idx", asked.idx)):
        if name is not None and name not in columns:
            there = f"{nearest(name, list(columns))} (there are {listed(columns)})"
            raise UserError(f"{option} {name}: {entry} has no such column{there}")


def fields(texts: Sequence[str]) -> list[str]:
    """Return the columns that texts are made of: their own, or those of templates such as `{title}: {body}`."""
    return [name for text in texts for name in FIELD.findall(text) or [text]]


def label_column(columns: Columns, asked: Asked, entry: str) -> tuple[str | None, str]:
    """Return the label column, or null where columns of 0 and 1 are labels, and why."""
    if asked.label is not None:
        return asked.label, "as asked"
    taken = [*fields(asked.texts), asked.idx]
    left = [
        column
        for name, column in columns.items()
        if name not in taken and column.shape != "other" and not _free(column)
    ]
    for common in (LABELS, OR_LABELS):
        named = [column.name for column in left if column.name.lower() in common]
        if len(named) == 1:
            return named[0], "by its name"
        if named:
            raise UserError(f"{entry}: {' or '.join(named)}? --label COLUMN says which one is the label")
    flags = [name for name, column in columns.items() if column.flag and asked.kind in (None, "multi")]
    candidates = [column.name for column in left if _could_be_label(column)]
    if len(flags) > 1 and (set(candidates) <= set(flags) or asked.kind == "multi"):
        return None, f"the {len(flags)} columns of 0 and 1"
    if len(candidates) == 1:
        numbers = columns[candidates[0]].shape == "number"
        return candidates[0], f"the only column of {'numbers' if numbers else 'few different values'}"
    ways = "--label COLUMN says which" + (", --kind multi makes labels of the columns of 0 and 1" if flags[1:] else "")
    if candidates:
        raise UserError(f"{entry}: the label could be {listed(candidates)}; {ways}")
    raise UserError(f"{entry}: none of its columns ({listed(columns)}) looks like a label; --label COLUMN says which")


def _could_be_label(column: Column) -> bool:
    if column.name.lower() in IDX or not column.name:
        return False
    if column.shape in ("list", "bool", "number"):
        return True
    different = len(column.different)
    return 1 < different <= max(len(column.values) / 2, 2) and (column.shape == "text" or different <= FEW)


def text_columns(columns: Columns, asked: Asked, taken: Collection[str], entry: str) -> tuple[list[str], str]:
    """Return one text or two, columns or templates, and why these; taken: the columns of labels."""
    if asked.texts:
        if both := next((name for name in fields(asked.texts) if name in taken), None):
            raise UserError(f"--text {both}: this is the label; --label COLUMN says which other column is")
        return list(asked.texts), "as asked"
    left = {name.lower(): name for name, column in columns.items() if name not in taken and column.text}
    for pair in PAIRS:
        first, second = pair.split()
        if first in left and second in left:
            return [left[first], left[second]], "by their names"
    rest = {lower: name for lower, name in left.items() if columns[name].shape == "text"}
    if named := next((text for text in TEXTS if text in rest), None):
        return [rest[named]], "by its name"
    free = [name for name in rest.values() if _free(columns[name])]
    if not free and len(rest) == 1:
        return list(rest.values()), "the only column of text"
    if 1 <= len(free) <= 2:
        return free, "the only column of free text" if len(free) == 1 else "the only two columns of free text"
    if free:
        raise UserError(f"{entry}: the texts could be {listed(free)}; --text COLUMN says which, one or two")
    raise UserError(f"{entry}: none of its columns ({listed(columns)}) looks like text; --text COLUMN says which")


def _free(column: Column) -> bool:
    """Whether a column holds free text: several words a row, and seldom the same ones."""
    if column.shape != "text":
        return False
    rows = len(column.values)
    several = sum(len(text.split()) for text in column.values) >= 2 * rows
    return several and len(column.different) > min(FEW, rows / 2) and separator_in(column) is None


def idx_column(tables: Sequence[Table], asked: str | None, taken: Collection[str | None]) -> tuple[str | None, str]:
    """Return the column that rows go by, null for none, and why: it has a whole number of its own in every row."""
    if asked is not None:
        return asked, "as asked"
    names = tables[0].rows.column_names
    for name in (name for common in IDX for name in names if name.lower() == common and name not in taken):
        columns = [(column_of(name, table.rows), len(table.rows)) for table in tables]
        if all(column.shape == "integer" and len(column.different) == rows for column, rows in columns):
            return name, "by its name"
    return None, ""
