"""One saved model or several of one task, and what they say of rows: the mean of their probabilities, or scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glue_pool import metrics
from glue_pool.data.tokens import Tokens
from glue_pool.errors import TrainingFailed, UserError
from glue_pool.hardware import within_memory
from glue_pool.saved import folder as saved
from glue_pool.saved.folder import SavedModel
from glue_pool.tasks import TaskConfig


@dataclass(frozen=True)
class Models:
    """Saved models of one task."""

    members: Sequence[SavedModel]

    @property
    def task(self) -> TaskConfig:
        """The task of all of them."""
        return self.members[0].task

    def tokens(self, texts: Sequence[Sequence[str]]) -> list[Tokens]:
        """Return each model's tokens of some rows, made once where models share the tokenizer and the length."""
        made: dict[tuple[str, int], Tokens] = {}
        for model in self.members:
            key = (model.tokenizer.fingerprint, model.max_length)
            if key not in made:
                made[key] = model.tokens(*texts)
        return [made[model.tokenizer.fingerprint, model.max_length] for model in self.members]

    def predict(self, tokens: Sequence[Tokens], batch_size: int) -> np.ndarray:
        """Return `(rows, labels)` probabilities, or `(rows, 1)` scores, in float64: the mean over the models."""
        found = []
        with within_memory("predicting", "a smaller --batch-size needs less"):
            for model, its_tokens in zip(self.members, tokens, strict=True):
                logits = model.of_tokens(its_tokens, batch_size=batch_size)
                if not np.isfinite(logits).all():
                    raise TrainingFailed(f"{model.folder}: gives no finite numbers; what trained it diverged")
                scores = self.task.problem_type == metrics.REGRESSION
                found.append(logits.astype(float) if scores else metrics.probabilities(logits, self.task.problem_type))
        return np.asarray(np.mean(found, axis=0))


def load(folders: Sequence[str | Path], classes: Sequence[type], *, device: str, precision: str) -> Models:
    """Load some saved models; raises UserError where one is none, or is of another task than the first."""
    members: list[SavedModel] = []
    for folder in folders:
        members.append(saved.load(folder, classes, device=device, precision=precision))
        _check_alike(members[0], members[-1])
    return Models(members)


def _check_alike(first: SavedModel, other: SavedModel) -> None:
    for what, of_first, of_other in (
        ("labels", first.task.labels, other.task.labels),
        ("columns", first.task.columns, other.task.columns),
    ):
        if of_first != of_other:
            said = f"its {what} are {_listed(of_other)}, those of {first.folder} {_listed(of_first)}"
            raise UserError(f"{other.folder}: {said}; a mean is of models of one task")
    if first.task.multi_label != other.task.multi_label:
        raise UserError(f"{other.folder} and {first.folder}: one gives a row one label, the other any number of them")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none (scores)"
