"""ONNX files: a padded model translated by torch's exporter, its int8 form, and how far it is from torch."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from glue_pool.data.tokens import Tokens
from glue_pool.errors import UserError, reason
from glue_pool.export.padded import INPUTS, Padded, plain_attention
from glue_pool.export.session import PLAIN, Session
from glue_pool.models.classifier import predict
from glue_pool.saved.folder import SavedModel, size

ONE_FILE = 1_900_000_000  # bytes of weights; a file of protobuf ends at 2 GB
MOST = 1e-4  # by which a logit may differ from torch's, in relation to the largest if that is above 1
LENGTHS = (1, 2, 5, 11, 24)  # words of the texts that are compared, beside one that is cut


def write(saved: SavedModel, file: Path, opset: int, tokens: Tokens) -> None:
    """Write a saved model as an ONNX file, and its weights beside it where a file can't hold them.

    tokens: some of its rows; they say whether it takes token types. Raises UserError where the exporter fails.
    """
    import torch.onnx

    classifier = saved.classifier
    names = INPUTS if tokens.token_type_ids is not None and classifier.encoder.takes_types else INPUTS[:2]
    ids = torch.full((3, 7), int(tokens.input_ids[0]))
    mask = torch.ones_like(ids)
    mask[1, 4:], mask[2, :2] = 0, 0
    examples = (ids, mask, torch.zeros_like(ids))[: len(names)]
    module = Padded(classifier, saved.model.config.cls_position or 0).eval()
    with quiet(), torch.no_grad(), plain_attention(classifier):
        try:
            program = torch.onnx.export(
                module,
                examples,
                input_names=names,
                output_names=["logits"],
                dynamo=True,
                opset_version=opset,
                dynamic_shapes={name: {0: "batch", 1: "sequence"} for name in names},
                verbose=False,
            )
        except Exception as error:  # an encoder, or a pooler of one's own, may hold anything
            raise UserError(f"{_named(saved)} can't be translated to ONNX ({_root(error)})") from None
        assert program is not None
        if (made := program.model.opset_imports[""]) != opset:  # the exporter's own conversion failed
            raise UserError(f"{_named(saved)} can't be had in opset {opset}; --opset {made} can")
        program.model.metadata_props.update(_about(saved, opset, names))
        program.save(str(file), external_data=size(classifier) > ONE_FILE)


def quantise(source: Path, target: Path) -> None:
    """Write an ONNX file with the weights of its matrix products and tables in int8.

    A weight's scale is of one output each, an activation's is found as it comes. Raises UserError where that fails.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    apart = any(file != source and file.name.startswith(source.name) for file in source.parent.iterdir())
    options = {"per_channel": True, "weight_type": QuantType.QInt8, "use_external_data_format": apart}
    with quiet():
        try:
            quantize_dynamic(source, target, **options)
        except OSError:
            raise
        except Exception as error:  # on a full disk it reads what it could not write
            raise UserError(f"{target.name}: onnxruntime can't make it ({_root(error)}); is the disk full?") from None


def compare(saved: SavedModel, file: Path, tokens: Tokens) -> float:
    """Return by how much an ONNX file's logits differ at most from torch's own, in one batch and in several.

    The unit is the largest logit, or 1 if that is more; scores that were standardised are taken as such. Batches are of
    one row and of several, padded on either side. Raises UserError, which says by how much, where that is more than
    MOST, and where onnxruntime can't use the file.
    """
    expected = predict(saved.classifier, tokens, PLAIN, len(tokens))
    rows = np.arange(len(tokens))
    shorter = rows[tokens.lengths < tokens.lengths.max()]
    if not len(shorter):
        shorter = rows
    try:
        session = Session(file, saved.classifier.encoder.padding_id, torch.get_num_threads())
        found = [
            (rows, session.logits(tokens, 1)),
            *((shorter, session.logits(tokens.select(shorter), len(rows), side)) for side in ("right", "left")),
            (rows[-2:], session.logits(tokens.select(rows[-2:]), 2, "left")),
        ]
    except Exception as error:  # onnxruntime's own have no common class
        raise UserError(f"{_named(saved)}: onnxruntime can't run what was exported ({_root(error)})") from None
    scale = saved.classifier.scale
    unit = max(float(np.abs(expected - scale.mean).max()), scale.deviation)
    by = max(float(np.abs(logits - expected[which]).max()) for which, logits in found) / unit
    if not by <= MOST:  # NaN included
        raise UserError(f"{_named(saved)} differs by {by:.1e} as ONNX, more than {MOST:.0e}; glue-pool predict runs it")
    return by


def samples(saved: SavedModel) -> Tokens:
    """Return rows of words from the tokenizer's own vocabulary: short ones, and as the last one that is cut."""
    tokenizer = saved.tokenizer.loaded
    special = set(tokenizer.all_special_ids)
    known = [i for i in sorted(tokenizer.get_vocab().values()) if i < saved.classifier.encoder.vocab_size]
    drawn, words = np.random.default_rng(0), np.array([i for i in known if i not in special])
    texts = [
        [tokenizer.decode(drawn.choice(words, count)) for count in (*LENGTHS, saved.max_length + 8)]
        for _ in saved.columns
    ]
    return saved.tokens(*texts)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's and the quantiser's progress and warnings off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _about(saved: SavedModel, opset: int, names: list[str]) -> dict[str, str]:
    """Return what the file says of itself: texts, lists as JSON."""
    return {
        "glue_pool_version": metadata.version("glue-pool"),
        "opset": str(opset),
        "task": saved.task.name,
        "problem_type": saved.task.problem_type,
        "columns": json.dumps(saved.columns),
        "labels": json.dumps(saved.labels),
        "encoder": saved.classifier.encoder.kind,
        "pooling": saved.pooling,
        "inputs": json.dumps(names),
        "max_length": str(saved.max_length),
        "padding_id": str(saved.classifier.encoder.padding_id),
    }


def _named(saved: SavedModel) -> str:
    return f"{saved.folder}: pooling={saved.pooling} on a {saved.classifier.encoder.kind} encoder"


def _root(error: BaseException) -> str:
    """Return what was at the root of an exporter's error, whose own first line is but a heading."""
    while error.__cause__ is not None:
        error = error.__cause__
    return reason(error) if isinstance(error, Exception) else type(error).__name__
