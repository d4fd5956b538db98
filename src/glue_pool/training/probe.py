"""A frozen encoder runs over a split once; what poolers read of it is cached, and heads are trained from there."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor

from glue_pool import components
from glue_pool.data.batches import Batch, HiddenBatch, over
from glue_pool.data.features import Entry, Features
from glue_pool.data.load import TaskData
from glue_pool.data.tokens import WAY_OUT, Split, Tokens, starts
from glue_pool.disk import check_room
from glue_pool.hardware import Hardware, within_memory
from glue_pool.models import pretrained
from glue_pool.models.classifier import Classifier
from glue_pool.models.factory import Blueprint
from glue_pool.schema import Config

log = logging.getLogger(__name__)

FORMAT = 2


def with_features(model: Classifier, data: TaskData, cfg: Config, blueprint: Blueprint, hardware: Hardware) -> TaskData:
    """Return the data with what the model's pooler reads of each split in place of its tokens.

    What is not in the cache yet is computed and kept there; its size is announced before. Raises UserError if the disk
    has no room for it, and TrainingFailed if memory runs out.
    """
    made = _Maker(model, cfg, blueprint, hardware)
    smaller = max(cfg.train.eval_batch_size // 2, 1)
    with within_memory("in the encoder's pass over the rows", f"train.eval_batch_size={smaller} needs less"):
        train = made.features(data.train, cfg.task.train_split)
        dev = {name: made.features(split, name) for name, split in data.dev.items()}
    return replace(data, train=train, dev=dev, about={**data.about, "features": {"dtype": hardware.precision}})


class _Maker:
    """Makes the features of one model's splits."""

    def __init__(self, model: Classifier, cfg: Config, blueprint: Blueprint, hardware: Hardware) -> None:
        self.model, self.cfg, self.hardware = model, cfg, hardware
        self.tried = False  # the encoder, on a few rows
        self.dtype = np.dtype(np.uint16 if hardware.precision == "bf16" else np.float32)
        self.cache = Path(cfg.data.cache_dir) / "features"
        self.encoder_key = [
            FORMAT,
            torch.__version__,
            transformers.__version__,
            blueprint.identity,
            components.source_id(type(blueprint.edit)),  # its code may change
            blueprint.folder.name,  # of a Hub encoder: the commit
            blueprint.batching if blueprint.batching == "equal" else blueprint.batching == "packed",
            hardware.precision,
            hardware.device.type,
            (cfg.train.eval_batch_size, cfg.train.padding_side),  # they may change the last bits
        ]

    def features(self, split: Split, name: str) -> Features:
        """Return what the pooler reads of a split, from the cache or put there now."""
        assert isinstance(split, Tokens)
        encoder, pooler = self.model.encoder, self.model.pooler
        key = hashlib.sha256(json.dumps([*self.encoder_key, split.fingerprint()]).encode()).hexdigest()[:32]
        entry = Entry(self.cache / key)
        rows, tokens, d = len(split), int(split.lengths.sum()), encoder.d
        offsets = starts(split.lengths)
        cls_shape, layer_shape = (rows, encoder.num_layers, d), (tokens, d)

        if pooler.reads != "cls":
            kept = range(encoder.num_layers - self.cfg.encoder.cache_layers + 1, encoder.num_layers + 1)
            layers = sorted({*pooler.layers, *(layer for layer in kept if layer >= 1)})
        else:
            layers = []
        wanted: dict[str, tuple[int, ...]] = {"cls": cls_shape} | {f"layer-{layer}": layer_shape for layer in layers}
        read = ["cls"] if pooler.reads == "cls" else [f"layer-{layer}" for layer in pooler.layers]
        if entry.lacks({part: wanted[part] for part in read}):
            size = self._size(entry.lacks(wanted))
            check_room(entry.path, size, f"data.cache_dir={self.cfg.data.cache_dir} (hidden states)", WAY_OUT)
            with entry.alone():
                if missing := entry.lacks(wanted):
                    self._encode(split, name, entry, missing)
        states = tuple(entry.expect(part, wanted[part]) for part in read)
        if pooler.reads == "cls":
            states = tuple(states[0][:, layer - 1] for layer in pooler.layers)
            offsets = np.arange(rows)
        features = Features(
            states=states,
            a_vector_a_row=pooler.reads == "cls",
            pooled=False,
            offsets=offsets,
            lengths=split.lengths,
            labels=split.labels,
            idx=split.idx,
            groups=split.groups,
        )
        if next(pooler.parameters(), None) is None:
            return self._pooled(features)
        return features

    def _encode(self, split: Tokens, name: str, entry: Entry, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Run the encoder over a split and keep the named parts."""
        what = f"{name} ({len(split)} rows; {', '.join(shapes)})"
        log.info("Caching hidden states of %s: %.0f MB in %s", what, self._size(shapes) / 1e6, entry.path)
        if not self.tried:
            pretrained.try_out(self.model.encoder, self.cfg)
            self.tried = True
        encoder = self.model.encoder.to(self.hardware.device).eval()
        every = tuple(range(1, encoder.num_layers + 1))
        offsets = starts(split.lengths)

        def fill(arrays: Mapping[str, np.ndarray]) -> None:
            def keep(batch: Batch) -> None:
                hidden = encoder(batch.input_ids, batch.token_type_ids, batch.layout, every)
                if "cls" in arrays:
                    cls = torch.stack([hidden.cls(layer) for layer in every], 1)
                    arrays["cls"][batch.rows] = self._stored(cls)
                lengths = split.lengths[batch.rows]
                where = np.repeat(offsets[batch.rows], lengths) + batch.layout.ranks.cpu().numpy()
                for layer in every:
                    if (part := arrays.get(f"layer-{layer}")) is not None:
                        part[where] = self._stored(hidden.tokens(layer))

            over(split, keep, self.hardware, self.cfg.train.eval_batch_size, self.cfg.train.padding_side)

        entry.write(shapes, self.dtype, fill)

    def _size(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """Return the bytes that arrays of these shapes take."""
        return sum(math.prod(shape) for shape in shapes.values()) * self.dtype.itemsize

    def _stored(self, state: Tensor) -> np.ndarray:
        if self.hardware.precision == "bf16":
            return state.to(torch.bfloat16).view(torch.uint16).cpu().numpy()
        return state.float().cpu().numpy()

    def _pooled(self, features: Features) -> Features:
        """Pool a split once, in memory, since the pooler learns nothing; not in a file, since its code may change."""
        model = self.model.to(self.hardware.device).eval()
        pooled = np.empty((len(features), model.pooler.out_dim), dtype=np.float32)

        def keep(batch: HiddenBatch) -> None:
            pooled[batch.rows] = model.pool(batch).float().cpu().numpy()

        over(features, keep, self.hardware, self.cfg.train.eval_batch_size)
        return replace(features, states=(pooled,), a_vector_a_row=True, pooled=True, offsets=np.arange(len(features)))
