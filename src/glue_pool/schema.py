"""Every config key: its type, its range and what it means.

Hydra merges the YAML of `conf/` into these dataclasses, so a wrong type stops at once; `check` adds the
ranges that the fields carry and returns a plain `Config`. Poolers are the exception: their keys are the keyword
arguments of the class that `pooling._target_` names, so that a new pooler needs no line here.
"""

import dataclasses
import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from glue_pool import components, tasks
from glue_pool.errors import UserError, nearest
from glue_pool.fields import EXACT, check_name, check_path, key, literals
from glue_pool.shell import expanded
from glue_pool.tasks import TaskConfig

COMPONENTS = {"pooling": ("name", "_target_", "tanh"), "edit": ("name", "_target_"), "recipe": ("name", "_target_")}
PLAIN, NO_EDIT = "glue_pool.training.recipe.Recipe", "glue_pool.models.edit.Edit"  # which do nothing


@dataclass
class EncoderConfig:
    """The pre-trained encoder whose hidden states are pooled."""

    name: str = key(in_key=False, path=True)
    """A Hub name, a local folder (config.json, safetensors, tokenizer) or `minilm_l6`, the packaged encoder."""
    revision: str | None = key(None, in_key=False)
    """Branch, tag or commit of a Hub name; null is the default branch."""
    license: str | None = key(None, in_key=False)
    """The weights' licence, as the Hub writes it; `mit of NAME` is of the encoder NAME alone; null: not stated."""
    num_hidden_layers: int | None = key(None, at_least=1)
    """Keep only the lowest layers; null keeps all."""
    dropout: float | None = key(None, at_least=0, below=1)
    """Dropout on hidden states and attention weights; null keeps the encoder's own."""
    reinit_layers: int = key(0, at_least=0)
    """How many top layers (and the encoder's pooler) are drawn anew from N(0, 0.02) (Zhang et al. 2021)."""
    freeze: bool = key(False)
    """Train only what comes after the encoder, from a cache of its hidden states: a probe."""
    cache_layers: int = key(3, at_least=0, in_key=False)
    """A probe's cache holds the tokens of so many top layers, and of those that a pooler reads beside them."""


@dataclass
class ModelConfig:
    """What follows the pooler, and the shorthand that picked one (`model=bert` is `pooling=bert`)."""

    name: str | None = key(None, in_key=False)
    """The pooler that `model=…` picked; `pooling=…` on the command line wins, and names the run."""
    dropout: float = key(0.1, at_least=0, below=1)
    """Dropout between the pooled vector and the linear classifier."""


@dataclass
class SubsetConfig:
    """The train rows a run may see."""

    size: int | None = key(None, at_least=1)
    """How many train rows, stratified by label; null takes all."""
    seed: int = key(0, at_least=0)
    """Which rows: with one seed, smaller subsets lie within larger ones, whatever the method or training seed."""


@dataclass
class DataConfig:
    """Where the rows come from; what they are is in a run's key (`data.sources.content_id`)."""

    name: str = key(choices=["hub", "local", "synthetic"], in_key=False)
    """`hub` is the task's own source, a Hub data set or files; `local` reads a folder, `synthetic` generates."""
    dir: str | None = key(None, in_key=False, path=True)
    """The local folder, laid out as <task>/<split>.parquet (or .csv, .tsv, .jsonl, .arrow)."""
    cache_dir: str = key(in_key=False, path=True)
    """Where tokenised splits are kept, keyed by content; processes may share it."""
    train_rows: int = key(2000, at_least=1, in_key=False)
    """Synthetic train rows."""
    dev_rows: int = key(400, at_least=1, in_key=False)
    """Synthetic rows of each dev split."""
    seed: int = key(0, at_least=0, in_key=False)
    """Which synthetic rows."""


@dataclass
class OptimizerConfig:
    """AdamW (with bias correction) and its schedule."""

    name: str = key(in_key=False)
    """The settings' name."""
    lr: float = key(2e-5, above=0)
    """Peak learning rate."""
    weight_decay: float = key(0.01, at_least=0)
    """Decoupled weight decay; biases and LayerNorm weights are exempt."""
    beta1: float = key(0.9, at_least=0, below=1)
    """Decay of the first moment."""
    beta2: float = key(0.999, at_least=0, below=1)
    """Decay of the second moment."""
    eps: float = key(1e-8, above=0)
    """Added to the denominator."""
    warmup_ratio: float = key(0.1, at_least=0, at_most=1)
    """Share of the steps over which the learning rate rises linearly from 0."""
    schedule: str = key("linear", choices=["linear", "cosine", "constant"])
    """What the learning rate does after warm-up; linear and cosine end at 0."""
    max_grad_norm: float | None = key(1.0, above=0)
    """Gradients are clipped to this global norm; null leaves them."""
    layer_decay: float = key(1.0, above=0, at_most=1)
    """Learning-rate factor a layer, from the head down (Zhang et al. 2021 use 0.95); 1 is the same rate for all."""


@dataclass
class TrainConfig:
    """The training loop."""

    epochs: int = key(3, at_least=1)
    """Passes over the train rows."""
    max_steps: int | None = key(None, at_least=1)
    """Exactly this many optimizer steps on the task, whatever `epochs` says; null leaves it to `epochs`."""
    min_steps: int | None = key(None, at_least=1)
    """At least this many steps: more epochs are added on small subsets; null adds none."""
    eval_steps: int | None = key(None, at_least=1)
    """Steps between two evaluations of the dev splits; null evaluates after each pass. The last step always counts."""
    batch_size: int = key(32, at_least=1)
    """Rows a step."""
    accumulate: int = key(1, at_least=1, neutral=1)
    """A step's rows go through the model in so many passes, for less memory; the step is the same."""
    eval_batch_size: int = key(64, at_least=1)
    """Rows a batch when evaluating."""
    max_length: int = key(128, at_least=4)
    """Tokens a row at most, special tokens included; longer pairs lose from the longer text."""
    precision: str = key("auto", choices=["fp32", "bf16", "auto"])
    """Matrix products in fp32 or bf16 (weights and optimizer stay fp32); auto is bf16 where the hardware has it."""
    batching: str = key("auto", choices=["packed", "padded", "auto"])
    """No padding in the encoder, or padded batches; auto packs, or runs rows by length, where a family needs it."""
    padding_side: str = key("right", choices=["right", "left"])
    """Where padded batches are padded."""
    shuffle: bool = key(True)
    """Draw the order of the train rows anew each epoch; false keeps theirs."""
    device: str = key("auto", choices=["auto", "cpu", "cuda"], in_key=False)
    """auto is cuda where there is one."""
    threads: int | None = key(None, at_least=1, in_key=False)
    """CPU threads; null leaves it to torch."""

    def steps(self, rows: int) -> int:
        """Return the optimizer steps of a training on so many rows."""
        if self.max_steps is not None:
            return self.max_steps
        return max(self.epochs * self.steps_per_epoch(rows), self.min_steps or 0)

    def steps_per_epoch(self, rows: int) -> int:
        """Return the steps of one pass; the last batch of a pass may be smaller."""
        return math.ceil(rows / self.batch_size)

    def evaluations(self, rows: int) -> int:
        """Return how often the dev splits are evaluated."""
        return math.ceil(self.steps(rows) / (self.eval_steps or self.steps_per_epoch(rows)))


@dataclass
class PlanConfig:
    """What is meant before the first look at scores; the report says where runs are others."""

    seeds: int | None = key(None, at_least=1, in_key=False)
    """Seeds of each method on each task before one looks at the verdicts; null says nothing."""


@dataclass
class CheckpointConfig:
    """How much work a run may lose if it is killed; SIGTERM, SIGUSR2 and Ctrl-C lose none."""

    minutes: float | None = key(5.0, above=0, in_key=False)
    """One is written after so many minutes without; null leaves it to the ends of epochs and evaluations."""
    min_seconds: float = key(20.0, at_least=0, in_key=False)
    """The end of an epoch or an evaluation leaves one unless less work than this would be lost without it."""


@dataclass
class TrackingConfig:
    """The W&B mirror of a run."""

    mode: str = key("offline", choices=["offline", "online", "none"], in_key=False)
    """offline writes files that `wandb sync` can upload later."""
    project: str = key("glue_pool", in_key=False)
    """The W&B project; a W&B sweep has its own."""
    entity: str | None = key(None, in_key=False)
    """The W&B user or team; null is one's default; a W&B sweep has its own."""
    dir: str = key(in_key=False, path=True)
    """The folder in which W&B makes its own `wandb` folder."""
    tags: list[str] = key([], in_key=False)
    """Tags beside the run's own (task, method, encoder, subset)."""
    log_every: int = key(10, at_least=1, in_key=False)
    """Optimizer steps between two logged training losses."""


@dataclass
class Config:
    """One run."""

    task: TaskConfig = field(default_factory=TaskConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pooling: dict[str, Any] = key({})
    """`name`, `_target_` (the class), `tanh` (none | pretrained | new) and the class's own keyword arguments."""
    edit: dict[str, Any] = key({}, neutral={"name": "none", "_target_": NO_EDIT})
    """`name`, `_target_` (the class) and the class's own keyword arguments: a change to the encoder before training."""
    recipe: dict[str, Any] = key({}, neutral={"name": "plain", "_target_": PLAIN})
    """`name`, `_target_` (the class) and the class's own keyword arguments: what training does beside its loss."""
    model: ModelConfig = field(default_factory=ModelConfig)
    subset: SubsetConfig = field(default_factory=SubsetConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = key(0, at_least=0)
    """The training seed: initialisation, data order and dropout each get a stream of their own from it."""
    output_root: str = key(in_key=False, path=True)
    """Where results go."""
    force: bool = key(False, in_key=False)
    """Run anew even if the result is there."""
    dry_run: bool = key(False, in_key=False)
    """Say what would run, what is there already and how long it would take; run nothing."""
    save_model: bool = key(False, in_key=False)
    """Keep the trained model beside the result."""

    @property
    def rows_from(self) -> Literal["hub", "files", "local", "synthetic"]:
        """Where rows come from: the task's own source is a data set on the Hub, or files."""
        name: Any = self.data.name
        return "files" if name == "hub" and self.task.source.path is None else name

    @property
    def method(self) -> str:
        """What a run is called, in folders, tables and W&B: its pooler, its edit and its recipe, as `mean+mixout`."""
        return method(self.pooling, self.edit, self.recipe)


def method(pooling: Mapping[str, Any], edit: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """Return what a run of these sections is called."""
    others = [of["name"] for of in (edit, recipe) if of["_target_"] not in (PLAIN, NO_EDIT)]
    return "+".join(map(str, [pooling["name"], *others]))


def check(composed: DictConfig, *, whole: bool = True) -> Config:
    """Turn what Hydra composed into a `Config`, or say in one line which key has an impossible value.

    Components get the keywords that their YAML does not give. whole: whether it is the config of a run, whose keys have
    to go together; else each is looked at by itself.
    """
    try:
        config: Any = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}", key=error.full_key) from None
    assert isinstance(config, Config)
    # output_root before tracking.dir, which is output_root unless given
    for part, name, value, limits in sorted(_keys(config), key=lambda of: of[0] is not config):
        if value is not None and "path" in limits:
            value = expanded(value, name)
            setattr(part, name.rpartition(".")[2], value)
        _check_value(name, value, limits)
    for section, keys in COMPONENTS.items():
        content = getattr(config, section)
        for required in keys:
            if not content.get(required):
                there = f"a {section} file has {', '.join(keys[:-1])} and {keys[-1]}"
                raise UserError(f"{section}.{required} is missing or empty: {there}", key=section)
        check_name(f"{section}.name", str(content["name"]))
        said = components.declared(str(content["_target_"]), section)
        setattr(config, section, {**content, **said.missing(content)})
    _check_value("pooling.tanh", config.pooling["tanh"], {"choices": ["none", "pretrained", "new"]})
    tasks.settle(config.task)
    if whole:
        tasks.check(config.task)
    return config


def refused(error: Exception) -> UserError | None:
    """Return what OmegaConf refused while Hydra composed a config, with its key; None where it names none."""
    cause = error.__context__
    if not isinstance(cause, OmegaConfBaseException) or not cause.full_key:
        return None
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        said = f"no such key{nearest(str(cause.key), list(cause.parent_node or ()))}"
    else:
        said = str(cause).strip().splitlines()[0]
        said = "takes a list, as [a, b]" if "is not a ListConfig, list or tuple" in said else said
    return UserError(f"{cause.full_key}: {said}", key=cause.full_key)


def from_plain(content: Mapping[str, Any]) -> Config:
    """Return the config that `glue_pool.results.plain` made plain data of."""
    said = OmegaConf.create(literals(dict(content)))
    return check(OmegaConf.merge(OmegaConf.structured(Config), said))  # type: ignore[arg-type]


def _keys(config: Any, prefix: str = "") -> Iterator[tuple[Any, str, Any, Any]]:
    """Yield of every key the section that it is in, its whole name, its value and what is said of it."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{item.name}.")
        else:
            yield config, f"{prefix}{item.name}", value, item.metadata


def _check_value(name: str, value: Any, limits: Any) -> None:
    if value is None:
        return
    if isinstance(value, list) and (odd := [item for item in value if isinstance(item, list | dict)]):
        raise UserError(f"{name}: takes a plain list, and {odd[0]} is none of text; quotes make it text", key=name)
    if value == "":
        raise UserError(f"{name}=: is empty", key=name)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value}: not a finite number", key=name)
    if isinstance(value, int) and abs(value) >= EXACT:
        raise UserError(f"{name}={value}: has to be below 2^53, or it is not exact everywhere", key=name)
    if "path" in limits:
        check_path(name, value)
    if "choices" in limits and value not in limits["choices"]:
        choices = limits["choices"]
        raise UserError(f"{name}={value}: one of {', '.join(choices)}{nearest(str(value), choices)}", key=name)
    ranges = {
        "at_least": operator.ge,
        "above": operator.gt,
        "at_most": operator.le,
        "below": operator.lt,
    }
    given = {kind: limits[kind] for kind in ranges if kind in limits}
    if not all(ranges[kind](value, bound) for kind, bound in given.items()):
        wanted = " and ".join(f"{kind.replace('_', ' ')} {bound:g}" for kind, bound in given.items())
        raise UserError(f"{name}={value}: has to be {wanted}", key=name)
