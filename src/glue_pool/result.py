"""What `result.json` holds, schema 2: everything that writes or reads a result goes by these types.

A failed run has no numbers: what a completed one alone has is None or empty there.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from types import NoneType
from typing import Any, Literal, NotRequired, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from glue_pool.fields import EXACT
from glue_pool.metrics import METRICS

MethodPart = Literal["pooling", "edit", "recipe"]  # what a method is made of
Metrics = Mapping[str, Mapping[str, float | None]]  # by split and metric; a NaN is null on disk


class Subset(TypedDict):
    """Which train rows."""

    size: int | None
    """Rows; null is all."""
    seed: int
    """The seed that drew them."""


class SplitFacts(TypedDict):
    """What was read of a split."""

    rows: int
    """How many rows."""
    official: bool
    """Whether that is the data set's own split, by its number of rows; false where that is not known."""


class Best(TypedDict):
    """The best evaluation on the dev split, which flatters."""

    epoch: float
    """After how many passes over the train rows."""
    metrics: Metrics
    """By dev split and metric."""
    score: float | None
    """The primary metric on the first dev split."""


class Parameters(TypedDict):
    """How many parameters the model has."""

    total: int
    """All of them."""
    pooling: int
    """Those between encoder and classifier: the pooler and the tanh layer after it."""


class Timing(TypedDict):
    """Seconds, over all attempts at the run."""

    setup_seconds: float
    """Imports, data, encoder."""
    train_seconds: float
    """Steps alone."""
    eval_seconds: float
    """Evaluations of the dev splits."""
    total_seconds: float
    """From the start of the process, or of the run in a warm one."""
    train_steps: int
    """Optimizer steps, of all phases."""
    evaluations: int
    """How often the dev splits were evaluated."""
    train_examples_per_second: float
    """Rows trained on by train_seconds."""
    train_tokens_per_second: float
    """Tokens trained on, without padding, by train_seconds."""


class Result(TypedDict):
    """A run that is over."""

    schema: int
    """Of this file and of the run's key."""
    run_key: str
    """Hash of everything that can change the numbers (`glue_pool.keys`)."""
    status: Literal["completed", "failed"] | None
    """How it ended; null while it goes on."""
    task: str
    """The task's name."""
    pooling: str
    """The pooler's name."""
    edit: str
    """The edit's name; `none` is no edit."""
    recipe: str
    """The recipe's name; `plain` is plain fine-tuning."""
    method: str
    """What the run is called: pooler, edit and recipe, as `mean+mixout`."""
    encoder: str
    """The encoder's short name."""
    kind: Literal["fine-tuned", "probe"]
    """A probe trained only what follows the encoder."""
    subset: Subset
    """Which train rows it saw."""
    seed: int
    """The training seed."""
    train_rows: int | None
    """How many train rows it saw."""
    metrics: Metrics
    """Of the last evaluation, by dev split and metric."""
    best: Best | None
    """The best evaluation."""
    primary_metric: str
    """The metric that is the score."""
    score: float | None
    """The primary metric on the first dev split after the last step; null for a NaN and for a failed run."""
    collapsed: bool | None
    """Whether every prediction on the first dev split is the same."""
    deterministic: NotRequired[bool]
    """Whether it is the same whatever the seed: a fixed reference for every seed of another; missing is false."""
    splits: dict[str, SplitFacts]
    """What was read, by split."""
    parameters: Parameters | None
    """How large the model is."""
    timing: Timing | None
    """How long it took."""
    peak_memory_bytes: int | None
    """The most memory held: on a GPU by tensors, on the CPU by the process."""
    resumed_at_steps: list[int]
    """The steps at which it went on from a checkpoint."""
    error: str | None
    """What a failed run ended with, in a line."""
    traceback: str | None
    """Where."""


NULL_IN_COMPLETED = {"score", "peak_memory_bytes", "error", "traceback"}  # what a completed run may lack


def objective(result: Result) -> float | None:
    """Return what a search maximises: the score, or its negative where lower is better; None where there is none."""
    score = result["score"]
    return None if score is None else METRICS[result["primary_metric"]].better * score


def wrong(content: Mapping[str, Any]) -> str | None:
    """Say what of a file's content is not as a result that is over has it; None if it is one."""
    if content.get("status") not in ("completed", "failed"):
        return f"status is {content.get('status')!r}"
    if content["status"] == "completed":
        for name, kind in _fields(Result).items():
            if content.get(name) is None and NoneType in get_args(kind) and name not in NULL_IN_COMPLETED:
                return f"{name} is None"
    return _wrong(content, Result, "")


def _wrong(value: Any, kind: Any, where: str) -> str | None:
    """Say which part of a value is not of its type."""
    of, plain = _taken_apart(kind)
    if NoneType in of:
        return None if value is None else _wrong(value, of[0], where)
    if plain is Literal:
        fits = value in of
    else:
        fits = isinstance(value, int | float if plain is float else plain) and isinstance(value, bool) == (kind is bool)
    if not fits or (isinstance(value, int) and not -EXACT < value < EXACT):
        return f"{where} is {value!r}"
    parts: Iterable[tuple[str, Any, Any]] = ()
    if is_typeddict(kind):
        there = (
            (name, inner) for name, inner in _fields(kind).items() if name in value or name in kind.__required_keys__
        )
        parts = ((name, value.get(name), inner) for name, inner in there)
    elif isinstance(value, dict):
        parts = ((name, item, of[-1]) for name, item in value.items())
    elif isinstance(value, list):
        parts = ((str(place), item, of[0]) for place, item in enumerate(value))
    said = (_wrong(item, inner, f"{where}/{name}".removeprefix("/")) for name, item, inner in parts)
    return next((each for each in said if each), None)


@cache
def _taken_apart(kind: Any) -> tuple[tuple[Any, ...], Any]:
    """Return a type's arguments, and the class that its values are of; Literal of one of certain values."""
    plain = dict if is_typeddict(kind) or get_origin(kind) is Mapping else get_origin(kind) or kind
    return get_args(kind), plain


@cache
def _fields(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
