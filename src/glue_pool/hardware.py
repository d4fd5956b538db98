"""What a run computes with: device, precision, memory."""

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

import torch

from glue_pool import threads
from glue_pool.errors import TrainingFailed, UserError
from glue_pool.schema import TrainConfig

# how torch says it where its error has no class of its own: on the CPU, in cuBLAS, in CUDA's own calls
OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")


@dataclass(frozen=True)
class Hardware:
    """The device that a run computes on, and in what: precision is "fp32" or "bf16"."""

    device: torch.device
    precision: str

    @classmethod
    def of(cls, cfg: TrainConfig) -> "Hardware":
        """Return what `train.device` and `train.precision` mean here; UserError if there is no such device."""
        return cls.choose(cfg.device, cfg.precision, "train.device")

    @classmethod
    def choose(cls, device: str, precision: str, name: str = "device") -> "Hardware":
        """Return what `auto` or a device's name, and `auto`, `fp32` or `bf16` mean here.

        name: what chose the device. Raises UserError if there is no such device.
        """
        if device not in ("auto", "cpu", "cuda") or precision not in ("auto", "fp32", "bf16"):
            raise UserError(f"device {device}, precision {precision}: auto, cpu or cuda, and auto, fp32 or bf16")
        gpu = torch.cuda.is_available()
        if device == "cuda" and not gpu:
            raise UserError(f"{name}=cuda: torch finds no CUDA device here")
        chosen = torch.device("cuda" if device != "cpu" and gpu else "cpu")
        if precision != "auto":
            return cls(chosen, precision)
        fast = torch.cuda.is_bf16_supported() if chosen.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        return cls(chosen, "bf16" if fast else "fp32")

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products in bf16 where the precision says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def computing(self, kind: str, work: int) -> AbstractContextManager[None]:
        """Compute a batch inside: on the CPU with as many threads as are fastest now (see `threads`)."""
        return nullcontext() if self.on_gpu else threads.computing(kind, work)

    def peak_memory_bytes(self) -> int:
        """Return the most memory held so far: on the GPU by tensors, on the CPU by the process."""
        if self.on_gpu:
            return int(torch.cuda.max_memory_allocated())
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def bound_caches() -> None:
    """Let oneDNN keep few of the programs that it makes for every new shape: a thousand of them take a gigabyte.

    Has an effect before torch's first matrix product in bf16, and unless the user has set these variables.
    """
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "16")


def give_back_memory() -> None:
    """Give the system what the process no longer uses, of which glibc keeps the better part in pieces."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def within_memory(doing: str, way_out: str) -> Iterator[None]:
    """Say of a lack of memory, on a GPU or the CPU, what was being done and what needs less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own error for CUDA is a RuntimeError
        is_it = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_it and not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
        raise TrainingFailed(f"out of memory {doing}; {way_out}") from error
