"""Optimizer steps: AdamW with its parameter groups, the schedule, clipping, and a batch in several passes."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from glue_pool.data.batches import Batch, HiddenBatch
from glue_pool.hardware import Hardware
from glue_pool.models.classifier import Classifier
from glue_pool.models.steady import Steady, alone
from glue_pool.schema import OptimizerConfig
from glue_pool.training.recipe import Phase


class Stepper:
    """Takes a phase's optimizer steps, one a call: forward, loss, backward, clipping, AdamW, schedule."""

    def __init__(self, model: Classifier, phase: Phase, hardware: Hardware) -> None:
        self.model, self.phase = model, phase
        self.autocast = hardware.autocast
        self.max_grad_norm = phase.optimizer.max_grad_norm
        self.adamw = make_optimizer(model, phase.optimizer)
        self.factor = partial(learning_rate_factor, phase.optimizer, phase.steps)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, self.factor)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    @property
    def learning_rate(self) -> float:
        """The rate that the next step uses, at the top of the model."""
        return float(self.schedule.get_last_lr()[-1])

    def __call__(self, batches: Sequence[Batch | HiddenBatch]) -> Tensor:
        """Take one step on some batches as if they were one, and return their loss, unread (reading waits for a GPU).

        Each goes forward and backward by itself, so memory is that of the largest; its loss counts by its rows.
        """
        rows = sum(len(batch.rows) for batch in batches)
        losses = []
        for batch in batches:
            with self.autocast():
                output = self.model(batch, self.phase.reads)
            with Steady(), alone():  # a sum over everything is shared out among threads, too
                loss = self.phase.loss(output, batch)
            if len(batches) > 1:
                loss = loss * (len(batch.rows) / rows)
            loss.backward()
            losses.append(loss.detach())
            del output, loss  # what they hold is not to stay through the next pass
        if self.max_grad_norm is not None:
            norm = nn.utils.get_total_norm([p.grad for p in self.trained.values() if p.grad is not None])
            # the fused kernel divides by this on its way, which saves a pass over all gradients
            self.adamw.grad_scale = (norm / self.max_grad_norm).clamp(min=1.0)  # type: ignore[attr-defined]
        self.adamw.step()
        self.schedule.step()
        self.adamw.zero_grad(set_to_none=True)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def moments(self) -> dict[str, Tensor]:
        """Return AdamW's state by `<what>/<parameter>`; a parameter that never had a gradient has none."""
        states = {name: self.adamw.state[p] for name, p in self.trained.items() if p in self.adamw.state}
        return {f"{what}/{name}": tensor for name, state in states.items() for what, tensor in state.items()}

    def restore(self, step: int, moments: Mapping[str, Tensor]) -> None:
        """Go on after a step of the phase with the moments that AdamW had then."""
        for key, tensor in moments.items():
            what, name = key.split("/", 1)
            parameter = self.trained[name]
            self.adamw.state[parameter][what] = tensor.to(parameter.device, copy=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, self.factor, last_epoch=step - 1)


def make_optimizer(model: Classifier, cfg: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW with no decay on biases and norm weights, and a smaller rate for lower layers if `layer_decay` says so."""
    depth = _depths(model) if cfg.layer_decay < 1 else {}
    top = model.encoder.num_layers + 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1
            groups.setdefault((depth.get(name, top), decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": cfg.lr * cfg.layer_decay ** (top - level),
                "weight_decay": cfg.weight_decay if decays else 0.0,
            }
            for (level, decays), parameters in groups.items()
        ],
        lr=cfg.lr,
        betas=(cfg.beta1, cfg.beta2),
        eps=cfg.eps,
        fused=True,
    )


def _depths(model: Classifier) -> dict[str, int]:
    """Level of every encoder parameter: 0 for the embeddings, l for layer l; what follows the encoder has none.

    A layer that runs several times is where it runs last.
    """
    layers = {id(p): i for i, layer in enumerate(model.encoder.blocks, 1) for p in layer.parameters()}
    return {name: layers.get(id(p), 0) for name, p in model.named_parameters() if name.startswith("encoder.")}


def learning_rate_factor(cfg: OptimizerConfig, total: int, step: int) -> float:
    """Return the share of the peak learning rate at a step, counted from 0."""
    warmup = int(cfg.warmup_ratio * total)
    if step < warmup:
        return step / warmup
    if cfg.schedule == "constant":
        return 1.0
    left = (total - step) / max(total - warmup, 1)
    return max(left, 0.0) if cfg.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - left)))
