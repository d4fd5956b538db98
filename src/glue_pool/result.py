"""What `result.json` holds, schema 2: everything that writes or reads a result goes by these types.

A failed run has no numbers: what a completed one alone has is None or empty there.
"""

from typing import Literal, TypedDict

Metrics = dict[str, dict[str, float]]  # by split and metric; a NaN is null on disk


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
    """Whether that is GLUE's own split, by its number of rows."""


class Best(TypedDict):
    """The best evaluation on the dev split, which flatters."""

    epoch: float
    """After how many passes over the train rows."""
    metrics: Metrics
    """By dev split and metric."""
    score: float
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
