"""Layer-wise guided training (arXiv 2010.05763): lower layers, too, are trained to tell the labels."""

from functools import reduce
from operator import add

from torch import Tensor, nn

from glue_pool.data.batches import Batch, HiddenBatch
from glue_pool.data.tokens import Split
from glue_pool.errors import UserError
from glue_pool.models.classifier import Classifier, Output
from glue_pool.tasks import TaskConfig
from glue_pool.training.recipe import Loss, Recipe, Shape


class Guided(Recipe):
    """loss = task loss + weight * mean over guided layers l of the task loss of a linear map of c_l.

    The paper's layers predict the levels of a hierarchy of labels; GLUE has none, so every guided layer predicts the
    label itself (deep supervision): ours, as are the weight and, by default, all layers but the top one. The maps are
    drawn N(0, 0.02) and are no part of the saved model. Weight 0 is plain fine-tuning.
    """

    on_frozen = False

    def __init__(self, *, layers: list[int] | None = None, weight: float = 0.5) -> None:
        if not weight >= 0:
            raise UserError(f"recipe.weight={weight}: has to be at least 0")
        if layers is not None and (not layers or len(set(layers)) < len(layers)):
            raise UserError(f"recipe.layers={layers}: has to name layers, each once")
        self.layers, self.weight = layers, weight

    def check(self, shape: Shape, task: TaskConfig) -> None:
        """Refuse layers that the encoder does not have."""
        layers = list(range(1, shape.layers)) if self.layers is None else sorted(self.layers)
        if not layers:
            raise UserError(
                "recipe=guided: this encoder has one layer, so none is left to guide; name it: recipe.layers=[1]"
            )
        if outside := [layer for layer in layers if not 1 <= layer <= shape.layers]:
            raise UserError(
                f"recipe.layers: this encoder has {shape.layers} layers, numbered from 1, and no {outside[0]}"
            )
        self.reads = tuple(layers) if self.weight else ()
        self.reads_cls = bool(self.reads)

    def prepare(self, model: Classifier, train: Split) -> None:
        """Add a linear map for each guided layer."""
        self.guides = nn.ModuleList(nn.Linear(model.encoder.d, model.output.out_features) for _ in self.reads)
        for guide in self.guides:
            nn.init.normal_(guide.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(guide.bias)  # type: ignore[arg-type]
        model.guides = self.guides

    def loss(self, output: Output, batch: Batch | HiddenBatch, task_loss: Loss) -> Tensor:
        """Add the guided layers' losses to the task's."""
        if not self.reads:
            return task_loss(output.logits, batch.labels)
        assert output.hidden is not None
        pairs = zip(self.guides, self.reads, strict=True)
        losses = [task_loss(guide(output.hidden.cls(layer).float()), batch.labels) for guide, layer in pairs]
        return task_loss(output.logits, batch.labels) + self.weight * reduce(add, losses) / len(losses)

    def finish(self, model: Classifier) -> None:
        """Take the maps away."""
        del model.guides
