"""A trained model in a folder: configs, safetensors weights and the tokenizer; loading never unpickles."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from torch import nn

from glue_pool.data.tokens import Tokenizer, Tokens
from glue_pool.errors import UserError
from glue_pool.hardware import Hardware
from glue_pool.models import families, pretrained
from glue_pool.models.classifier import Classifier, Scale, predict
from glue_pool.models.edit import Edit
from glue_pool.models.encoder import Encoder
from glue_pool.models.factory import Blueprint, build_edit, build_pooler
from glue_pool.schema import Config
from glue_pool.shell import expanded
from glue_pool.tasks import TaskConfig

ABOUT = "glue_pool.json"
WEIGHTS = "model.safetensors"
BATCH = 64


def size(model: Classifier) -> int:
    """Return the bytes that saving a model takes, about."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def save(model: Classifier, cfg: Config, blueprint: Blueprint, folder: Path) -> None:
    """Write a folder from which `load` gives the same logits."""
    from safetensors.torch import save_model

    from glue_pool.data.tokens import TOKENIZER_FILES

    folder.mkdir(parents=True, exist_ok=True)
    model.encoder.config.save_pretrained(folder)
    about = {
        "task": cfg.task.name,
        "columns": cfg.task.columns,
        "labels": cfg.task.labels,
        "problem_type": cfg.task.problem_type,
        "outputs": cfg.task.outputs,
        "scale": asdict(model.scale),
        "pooling": cfg.pooling,
        "edit": cfg.edit,
        "encoder": blueprint.identity,
        "max_length": cfg.train.max_length,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    save_model(model, str(folder / WEIGHTS))
    for name in TOKENIZER_FILES:
        if (blueprint.folder / name).is_file():
            shutil.copyfile(blueprint.folder / name, folder / name)


@dataclass(frozen=True)
class SavedModel:
    """A trained classifier with its tokenizer, ready to score texts.

    task: what it was trained on: its `columns` are what a row's texts are made of, its `labels` the names of the
    logits' columns, empty for a regression task. hardware: what it computes on.
    """

    classifier: Classifier
    folder: Path
    task: TaskConfig
    max_length: int
    tokenizer: Tokenizer
    hardware: Hardware

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
            raise UserError(f"logits: takes lists of equal length for {' and '.join(self.columns)}")
        if odd := [text for column in columns for text in column if not isinstance(text, str)]:
            raise UserError(f"logits: takes texts, not {odd[0]!r}")
        count = np.arange(len(columns[0]))
        rows = Rows(columns, np.zeros_like(count), count)
        tokens = encode(rows, self.tokenizer, self.max_length, "logits")
        check_ids(tokens, self.classifier.encoder.config, self.tokenizer, "logits: a text")
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
    names it. device: `cpu`, `cuda`, or auto. precision: `fp32`, `bf16`, or auto: that of the run. Raises UserError if
    the folder is none, or needs a class that is not there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    folder = Path(expanded(str(folder)))
    if (folder / "result.json").is_file():
        inside = folder / "model"
        kept = f"its model is in {inside}" if inside.is_dir() else "save_model=true keeps its model"
        raise UserError(f"{folder}: not a saved model but a run's folder; {kept}")
    hardware = Hardware.choose(device, "fp32" if precision == "auto" else precision)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        config = pretrained.config_in(folder, f"{folder}: not a saved model")
        edit = build_edit(about["edit"], classes) if "edit" in about else Edit()  # 0.1 had none
        encoder = Encoder(config, families.batching(config, "auto"), edit=edit)
        pretrained.take_pooler(encoder.backbone)
        pooler = build_pooler(about["pooling"], encoder.d, encoder.num_layers, classes)
        has_tanh = about["pooling"]["tanh"] != "none"
        tanh = nn.Linear(pooler.out_dim, pooler.out_dim) if has_tanh else None
        model = Classifier(encoder, pooler, tanh, dropout=0.0, outputs=about["outputs"])
        model.scale = Scale(**about.get("scale", {}))
        load_model(model, str(folder / WEIGHTS))
        task = TaskConfig(name=about["task"], columns=about["columns"], labels=about["labels"])
        model = model.eval().to(hardware.device)
        return SavedModel(model, folder, task, about["max_length"], Tokenizer(folder), hardware)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: not a saved model ({type(error).__name__}: {reason})") from None
