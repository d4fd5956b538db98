"""One row's texts: what a model says of them, and which layers and tokens its pooled vector came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glue_pool import metrics
from glue_pool.data.batches import over
from glue_pool.errors import UserError
from glue_pool.inspection.sources import Method, Traced, trace
from glue_pool.metrics import MULTI, REGRESSION
from glue_pool.saved.folder import SavedModel, load


@dataclass(frozen=True)
class Inspection:
    """What a row's pooled vector came from.

    tokens: those that the pooler read, as the tokenizer names them, and their positions in the row; layers: those that
    it reads, 1-based. shares: `(heads, layers, tokens)`, 1 in total for each head. method: how they were found.
    label: the predicted one, several joined by ", " in a multi-label task, None for a score; probabilities by label;
    score: that of a regression task. truncated: whether the texts have more tokens than the model reads.
    """

    task: str
    pooler: str
    tokens: list[str]
    positions: np.ndarray
    layers: tuple[int, ...]
    shares: np.ndarray
    method: Method
    label: str | None
    probabilities: Mapping[str, float]
    score: float | None
    truncated: bool


def inspect(
    folder: str | Path, *texts: str, classes: Sequence[type] = (), device: str = "auto", precision: str = "auto"
) -> Inspection:
    """Inspect the model that `save_model=true` left in a folder, on the texts of one row.

    classes, device, precision: as `glue_pool.load` takes them. Raises UserError where the folder is none, or the texts
    are not as many as the task has.
    """
    model = load(folder, classes, device=device, precision=precision)
    if len(texts) != len(model.columns):
        wanted = "one text" if len(model.columns) == 1 else f"{len(model.columns)} texts"
        raise UserError(f"{folder}: {model.task.name} takes {wanted} ({', '.join(model.columns)}), not {len(texts)}")
    tokens = model.tokens(*texts)
    found: list[Traced] = []
    over(tokens, lambda batch: found.extend(trace(model.classifier, batch)), model.hardware, batch_size=1)
    (row,) = found
    label, probabilities, score = prediction(model, row.logits)
    return Inspection(
        model.task.name,
        model.pooling,
        list(model.tokenizer.loaded.convert_ids_to_tokens(tokens.input_ids[row.positions].tolist())),
        row.positions,
        model.classifier.pooler.layers,
        row.shares,
        row.method,
        label,
        probabilities,
        score,
        tokens.truncated > 0,
    )


def prediction(model: SavedModel, logits: np.ndarray) -> tuple[str | None, dict[str, float], float | None]:
    """Return the label, the probabilities and the score that a row's logits stand for."""
    kind = model.task.problem_type
    if kind == REGRESSION:
        return None, {}, float(model.classifier.scale.restored(logits)[0])
    probabilities = metrics.probabilities(logits, kind)
    if kind == MULTI:
        label = ", ".join(name for name, logit in zip(model.labels, logits, strict=True) if logit > 0)
    else:
        label = model.labels[int(logits.argmax())]
    return label, dict(zip(model.labels, probabilities.tolist(), strict=True)), None
