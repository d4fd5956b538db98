"""A trained model in a folder: configs, safetensors weights and the tokenizer; loading never unpickles."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import nn

from glue_pool import results
from glue_pool.data.tokens import Tokenizer, Tokens
from glue_pool.disk import missing
from glue_pool.errors import UserError, reason
from glue_pool.hardware import Hardware
from glue_pool.models import pretrained
from glue_pool.models.classifier import Classifier, predict
from glue_pool.models.factory import Blueprint
from glue_pool.saved import earlier
from glue_pool.saved.configuration import GluePoolConfig, labelled, of_encoder
from glue_pool.saved.modeling import GluePoolForSequenceClassification
from glue_pool.schema import Config
from glue_pool.shell import expanded, readable
from glue_pool.tasks import TaskConfig

RUN_CONFIG = "run_config.yaml"
OF_THE_MACHINE = ("output_root", "tracking", "data.cache_dir")  # which say nothing of the model
BATCH = 64
# of a task's section: where its rows are, which is of no use to whoever has others
ROWS = "source train_split dev_splits test_splits dev_share dev_seed official_rows submission synthetic".split()


def size(model: Classifier) -> int:
    """Return the bytes that saving a model takes, about."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def save(
    model: Classifier, cfg: Config, blueprint: Blueprint, hardware: Hardware, cls: int | None, folder: Path
) -> None:
    """Write a folder from which `load`, and transformers, give the same logits.

    hardware: what the run was evaluated on. cls: where its rows have their [CLS], as `Tokens` says.
    """
    from transformers.initialization import no_init_weights

    task = {name: value for name, value in asdict(cfg.task).items() if name not in ROWS}
    config = GluePoolConfig(
        glue_pool_version=metadata.version("glue-pool"),
        encoder_config=of_encoder(model.encoder.config),
        encoder_identity=blueprint.identity,
        pooling=cfg.pooling,
        edit=cfg.edit,
        dropout=cfg.model.dropout,
        scale=asdict(model.scale),
        cls_position=cls,
        max_length=cfg.train.max_length,
        precision=hardware.precision,
        task=task,
        problem_type=cfg.task.problem_type,
        **labelled(cfg.task.labels),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with no_init_weights():  # they are trained
        GluePoolForSequenceClassification(config, classifier=model).save_pretrained(folder)
    tokenizer = Tokenizer(blueprint.folder).loaded
    tokenizer.model_max_length = cfg.train.max_length  # a pipeline cuts texts to that, if to anything
    for said in ("local_files_only", "is_local"):  # of how it was loaded here
        tokenizer.init_kwargs.pop(said, None)
    tokenizer.save_pretrained(folder)
    results.write_config(folder / RUN_CONFIG, cfg, without=OF_THE_MACHINE)
    for file in folder.iterdir():  # whoever may read the folder may read what is in it
        file.chmod(0o644)


@dataclass(frozen=True)
class SavedModel:
    """A trained classifier with its tokenizer, ready to score texts.

    model: as transformers knows it. task: what it was trained on; its `columns` are what a row's texts are made of, its
    `labels` the names of the logits' columns, none for a regression task. hardware: what it computes on.
    """

    model: GluePoolForSequenceClassification
    folder: Path
    task: TaskConfig
    tokenizer: Tokenizer
    hardware: Hardware

    @property
    def classifier(self) -> Classifier:
        """Encoder, pooler and linear map."""
        inside: Classifier = self.model.model
        return inside

    @property
    def pooling(self) -> str:
        """The pooler's name in the run's config."""
        return str(self.model.config.pooling["name"])

    @property
    def max_length(self) -> int:
        """The tokens that a row is cut to."""
        return int(self.model.config.max_length)

    @property
    def columns(self) -> list[str]:
        """The texts of a row, one or two."""
        return self.task.columns

    @property
    def labels(self) -> list[str]:
        """The names of the logits' columns, empty for a regression task."""
        return self.task.labels

    def logits(self, *texts: str | Sequence[str], batch_size: int = BATCH) -> np.ndarray:
        """Return `(rows, outputs)` for single sentences (one list) or pairs (two lists of equal length).

        A string is one text. Raises UserError if these are not the columns that the model was trained on, or a text has
        tokens that it has no embeddings for.
        """
        return self.of_tokens(self.tokens(*texts), batch_size=batch_size)

    def tokens(self, *texts: str | Sequence[str]) -> Tokens:
        """Return the tokens of texts, given and refused as `logits` does; their idx counts from 0."""
        from glue_pool.data.rows import Rows
        from glue_pool.data.tokens import encode
        from glue_pool.models.inputs import check_ids

        columns = tuple([column] if isinstance(column, str) else list(column) for column in texts)
        if len(columns) != len(self.columns) or len({len(column) for column in columns}) > 1:
            raise UserError(f"takes lists of equal length for {' and '.join(self.columns)}")
        if odd := [text for column in columns for text in column if not isinstance(text, str)]:
            raise UserError(f"takes texts, not {odd[0]!r}")
        if odd := [text for column in columns for text in column if text != readable(text)]:
            raise UserError(f"a text is no UTF-8: {readable(odd[0])!r}")
        count = np.arange(len(columns[0]))
        rows = Rows(columns, np.zeros_like(count), count)
        tokens = encode(rows, self.tokenizer, self.max_length)
        check_ids(tokens, self.classifier.encoder.config, self.tokenizer, "a text")
        return tokens

    def of_tokens(
        self, tokens: Tokens, *, batch_size: int = BATCH, between: Callable[[], None] = lambda: None
    ) -> np.ndarray:
        """Return the logits of tokenised texts, `(rows, outputs)` in fp32; of a regression task scores in its unit.

        between: called after each batch; it may raise.
        """
        return predict(self.classifier, tokens, self.hardware, batch_size, between=between)


def load(
    folder: str | Path, classes: Sequence[type] = (), *, device: str = "auto", precision: str = "auto"
) -> SavedModel:
    """Load what `save_model=true` left in `<run folder>/model`; no pickle, no remote code.

    classes: those of the pooler and the edit, if they are not this package's: no module is imported because the folder
    names it. device: `cpu`, `cuda`, or auto. precision: `fp32`, `bf16`, or auto: that of the run, but fp32 where bf16
    is slow. Raises UserError if the folder is none, or needs a class that is not there.
    """
    folder = Path(expanded(str(folder)))
    if not folder.is_dir():
        raise UserError(f"{folder}: {missing(folder)}")
    if (folder / "result.json").is_file():
        inside = folder / "model"
        kept = f"its model is in {inside}" if inside.is_dir() else "save_model=true keeps its model"
        raise UserError(f"{folder}: not a saved model but a run's folder; {kept}")
    here = Hardware.choose(device, precision)  # before anything is read
    try:
        model = _earlier(folder, classes) or _load(folder, classes)
        known = {item.name for item in dataclasses.fields(TaskConfig)}
        task = TaskConfig(**{name: value for name, value in model.config.task.items() if name in known})
        _check(model, task)
    except UserError as error:
        raise UserError(f"{folder}: {str(error).removeprefix(f'{folder}: ')}") from None
    except Exception as error:  # the folder may hold anything
        raise UserError(f"{folder}: not a saved model ({reason(error)})") from None
    of_run = "fp32" if model.config.precision == "fp32" else here.precision
    hardware = here if precision != "auto" else replace(here, precision=of_run)
    nn.Module.to(model, hardware.device)
    model.train(False)
    return SavedModel(model, folder, task, Tokenizer(folder), hardware)


def _check(model: GluePoolForSequenceClassification, task: TaskConfig) -> None:
    """Refuse values that are not of one model, or of no type that they can be of."""
    config, texts, labels = model.config, task.columns, task.labels
    length, most = config.max_length, model.model.encoder.max_tokens
    fits = {
        "task.columns": isinstance(texts, list) and len(texts) in (1, 2) and all(isinstance(of, str) for of in texts),
        "task.labels": isinstance(labels, list)
        and (task.outputs, task.problem_type) == (config.num_labels, config.problem_type),
        "max_length": isinstance(length, int) and 0 < length <= (most or length),
        "scale": all(isinstance(value, int | float) for value in config.scale.values()),
        "precision": config.precision in ("fp32", "bf16"),
    }
    if odd := next((name for name, is_so in fits.items() if not is_so), None):
        raise UserError(f"not a saved model: its config.json says {odd} as no run does")


def _load(folder: Path, classes: Sequence[type]) -> GluePoolForSequenceClassification:
    config = pretrained.config_in(folder, f"{folder}: not a saved model")
    if not isinstance(config, GluePoolConfig):
        raise UserError(f"not a saved model but a {config.model_type} model; save_model=true keeps that of a run")
    model, info = GluePoolForSequenceClassification.from_pretrained(
        folder,
        config=config,
        classes=classes,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        ignore_mismatched_sizes=True,  # they are told below
        output_loading_info=True,
    )
    assert isinstance(model, GluePoolForSequenceClassification)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if odd := sorted(map(str, info[kind])):
            said = f"{len(odd)} {kind.replace('_', ' ')}, the first {odd[0]}"
            raise UserError(f"not a saved model: its weights are not those of its config.json ({said})")
    return model


def _earlier(folder: Path, classes: Sequence[type]) -> GluePoolForSequenceClassification | None:
    """Load what versions before 0.3 left; None where the folder is of this one."""
    from safetensors.torch import load_model

    if (config := earlier.read(folder)) is None:
        return None
    model = GluePoolForSequenceClassification(config, classes=classes)
    load_model(model.model, str(folder / "model.safetensors"))
    config.cls_position = Tokenizer(folder).frame("a", len(config.task["columns"]))[0]
    return model
