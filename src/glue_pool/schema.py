"""Every config key: its type, its range and what it means.

Hydra merges the YAML of `conf/` into these dataclasses, so a wrong type stops at once; `check` adds the
ranges that the fields carry and returns a plain `Config`. Poolers are the exception: their keys are the keyword
arguments of the class that `pooling._target_` names, so that a new pooler needs no line here.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glue_pool import components, metrics, tasks
from glue_pool.errors import UserError, nearest
from glue_pool.metrics import Metric, ProblemType

NOT_GIVEN: Any = object()
COMPONENTS = {"pooling": ("name", "_target_", "tanh"), "edit": ("name", "_target_"), "recipe": ("name", "_target_")}
PLAIN, NO_EDIT = "glue_pool.training.recipe.Recipe", "glue_pool.models.edit.Edit"  # which do nothing
NAME = re.compile(r"\w[\w.-]*")  # of a component: method names join several by +


def key(
    default: Any = MISSING,
    *,
    in_key: bool = True,
    neutral: Any = NOT_GIVEN,
    choices: Sequence[str] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """A config key with its default and the values it may take; null is allowed where the type allows it.

    in_key: whether the value can change a run's numbers, and so is in the run's key. neutral: of a key that came after
    results were written without it, the value that changes nothing: it is in no run's key, and results without it have
    it. The default is another thing, and may change.
    """
    limits = {
        "choices": choices,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "below": below,
    }
    metadata: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None} | {"in_key": in_key}
    if neutral is not NOT_GIVEN:
        metadata["neutral"] = neutral
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class SourceConfig:
    """A task's own source: a Hub data set, files, or files of a Hub data set."""

    path: str | None = key(None, in_key=False)
    """The Hub data set, or a folder laid out like one; null where files alone are the source."""
    config: str | None = key(None, in_key=False)
    """The Hub data set's configuration."""
    revision: str | None = key(None, in_key=False)
    """Branch, tag or commit of the Hub data set; null is the default branch."""
    files: dict[str, Any] = key({}, in_key=False)
    """By split a file, a glob of shards or a list (csv, tsv, jsonl, parquet, arrow), of `path` if that is given."""
    quotes: bool = key(True, in_key=False)
    """Of csv and tsv without a `path`: a text in quotes may hold separators and line breaks; false: quotes are text."""


@dataclass
class TaskConfig:
    """One task: where its rows come from, what they look like and how they are scored."""

    name: str = key(in_key=False)  # the data's identity has what depends on it
    """The task's name: that of its folder and its results."""
    title: str | None = key(None, in_key=False)
    """What tables to print call it; null is its name."""
    order: int | None = key(None, in_key=False)
    """Its place among a table's columns; tasks without one come last, by name."""
    source: SourceConfig = field(default_factory=SourceConfig)
    """Where its rows are."""
    columns: list[str] = key([])
    """The texts, one for single sentences or two for pairs: columns, or templates such as `{word}: {sentence1}`."""
    label: str | None = key("label", neutral="label")
    """The label column; null in a multi-label task with a column of 0 and 1 for every label, by its name."""
    idx: str | None = key("idx", neutral="idx")
    """The column of whole numbers that rows go by in predictions; null, or no column `idx`, numbers them from 0."""
    labels: list[str] = key([])
    """Label names by class id, asserted against the data set; empty for a regression task."""
    label_map: dict[Any, str] = key({}, neutral={})
    """What the data say for each label, if that is not its name or its id, as in `{1: negative, 5: positive}`."""
    multi_label: bool = key(False, neutral=False)
    """Whether a row has any number of labels: a logit a label, threshold 0.5."""
    separator: str = key(",", neutral=",")
    """What stands between the labels of a row where a multi-label task's column is text."""
    positive: str | None = key(None, neutral=None)
    """The label that f1 and its like are of, in a task of two; null is the second."""
    score_range: list[float] | None = key(None)
    """Lowest and highest gold score of a regression task; null for classification, and where any score will do."""
    standardise: bool = key(False, neutral=False)
    """Whether a regression task trains on scores of mean 0 and deviation 1; predictions are in the data's unit."""
    metrics: list[str] = key([])
    """What is computed on every dev split (names of `glue_pool.metrics`)."""
    primary_metric: str = key()
    """The metric that becomes a run's score, on the first dev split."""
    train_split: str = key("train")
    """The split to train on."""
    dev_splits: list[str] = key([])
    """The splits to evaluate; the first carries the score."""
    dev_share: float | None = key(None, above=0, below=1, neutral=None)
    """This share of the train split's rows, stratified, is the dev split, and not trained on; null reads dev splits."""
    dev_seed: int = key(0, at_least=0, neutral=0)
    """Which rows `dev_share` takes, whatever the training seed."""
    test_splits: list[str] = key([], in_key=False)
    """The splits that are neither trained on nor evaluated; GLUE's server keeps the labels of its own."""
    official_rows: dict[str, int] = key({}, in_key=False)
    """Rows of every official split: a split of another size is reported as not official."""
    submission: dict[str, str] = key({}, in_key=False)
    """The file name that GLUE's server wants for each test split."""
    default_average: bool = key(True, in_key=False)
    """Whether the task counts in the average over tasks (WNLI does not: GLUE FAQ 12)."""
    synthetic: str | None = key(None, in_key=False)
    """Which generator `data=synthetic` has for it; null is one for any task."""

    @property
    def problem_type(self) -> ProblemType:
        """The kind of task, by transformers' name of it."""
        if not self.labels:
            return metrics.REGRESSION
        return metrics.MULTI if self.multi_label else metrics.SINGLE

    @property
    def outputs(self) -> int:
        """Logits a row: one a label, or one for a regression task."""
        return len(self.labels) or 1

    @property
    def positive_id(self) -> int:
        """The class that f1 and its like are of."""
        return 1 if self.positive is None else self.labels.index(self.positive)

    @property
    def metric(self) -> Metric:
        """The metric that is the score."""
        return metrics.METRICS[self.primary_metric]


@dataclass
class EncoderConfig:
    """The pre-trained encoder whose hidden states are pooled."""

    name: str = key(in_key=False)
    """A Hub name, a local folder (config.json, safetensors, tokenizer) or `minilm_l6`, the packaged encoder."""
    revision: str | None = key(None, in_key=False)
    """Branch, tag or commit of a Hub name; null is the default branch."""
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
    dir: str | None = key(None, in_key=False)
    """The local folder, laid out as <task>/<split>.parquet (or .csv, .tsv, .jsonl, .arrow)."""
    cache_dir: str = key(in_key=False)
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
    """No padding in the encoder, or padded batches; auto packs for encoders that allow it."""
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
    dir: str = key(in_key=False)
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
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = key(0, at_least=0)
    """The training seed: initialisation, data order and dropout each get a stream of their own from it."""
    output_root: str = key(in_key=False)
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
        others = [of["name"] for of in (self.edit, self.recipe) if of["_target_"] not in (PLAIN, NO_EDIT)]
        return "+".join(map(str, [self.pooling["name"], *others]))


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
    for name, value, limits in _keys(config):
        _check_value(name, value, limits)
    for section, keys in COMPONENTS.items():
        content = getattr(config, section)
        for required in keys:
            if not content.get(required):
                there = f"a {section} file has {', '.join(keys[:-1])} and {keys[-1]}"
                raise UserError(f"{section}.{required} is missing or empty: {there}", key=section)
        if not NAME.fullmatch(name := str(content["name"])):
            wanted = "it names folders and methods, and takes letters, digits, `_`, `-` and `.`"
            raise UserError(f"{section}.name={name}: {wanted}", key=f"{section}.name")
        said = components.declared(str(content["_target_"]), section)
        setattr(config, section, {**content, **said.missing(content)})
    _check_value("pooling.tanh", config.pooling["tanh"], {"choices": ["none", "pretrained", "new"]})
    _settle(config.task)
    if whole:
        tasks.check(config.task)
    return config


def _settle(task: TaskConfig) -> None:
    """Give what can be said in several ways one form, which is the one in the key."""
    said: dict[str, str] = {}
    for value, name in task.label_map.items():
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        if said.setdefault(text, name) != name:
            raise UserError(f"task.label_map: {text} is {said[text]!r} and {name!r}", key="task.label_map")
    task.label_map = said
    if task.dev_share is not None and not task.dev_splits:
        task.dev_splits = ["dev"]
    if len(task.labels) == 2 and task.positive == task.labels[1]:
        task.positive = None


def from_plain(content: Mapping[str, Any]) -> Config:
    """Return the config that `glue_pool.results.plain` made plain data of."""
    return check(OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create(dict(content))))  # type: ignore[arg-type]


def _keys(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, item.metadata


def _check_value(name: str, value: Any, limits: Any) -> None:
    if value is None:
        return
    if isinstance(value, list) and (odd := [item for item in value if isinstance(item, list | dict)]):
        raise UserError(f"{name}: takes a plain list, and {odd[0]} is none of text; quotes make it text", key=name)
    if value == "":
        raise UserError(f"{name}=: is empty", key=name)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value}: not a finite number", key=name)
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
