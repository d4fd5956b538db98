"""An ONNX file at work in onnxruntime: what it says of tokenised rows, padded as the batches come."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from glue_pool.data.batches import Batch, over
from glue_pool.data.tokens import Tokens
from glue_pool.hardware import Hardware

PLAIN = Hardware(torch.device("cpu"), "fp32")


class Session:
    """An ONNX file in onnxruntime, on the CPU; padding_id fills its batches.

    Raises whatever onnxruntime raises of a file that it can't use.
    """

    def __init__(self, file: Path, padding_id: int, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.inputs = [of.name for of in self._session.get_inputs()]
        self.padding_id = padding_id

    def logits(self, tokens: Tokens, batch_size: int, padding_side: str = "right") -> np.ndarray:
        """Return the logits `(rows, outputs)` of tokenised rows in their own order, batches by length as torch's."""
        found: dict[int, np.ndarray] = {}

        def run(batch: Batch) -> None:
            found.update(zip(batch.rows.tolist(), self._run(batch), strict=True))

        over(tokens, run, PLAIN, batch_size, padding_side)
        return np.stack([found[row] for row in range(len(tokens))])

    def _run(self, batch: Batch) -> np.ndarray:
        mask = batch.layout.mask
        padded = {
            "input_ids": batch.layout.pad(batch.input_ids).masked_fill(~mask, self.padding_id),
            "attention_mask": mask.long(),
        }
        if batch.token_type_ids is not None:
            padded["token_type_ids"] = batch.layout.pad(batch.token_type_ids).masked_fill(~mask, 0)
        (logits,) = self._session.run(["logits"], {name: padded[name].numpy() for name in self.inputs})
        of_batch: np.ndarray = logits
        return of_batch
