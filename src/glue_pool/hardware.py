"""What a run computes with: device, precision, threads, memory."""

import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from glue_pool.errors import TrainingFailed, UserError
from glue_pool.schema import TrainConfig

# how torch says it where its error has no class of its own: on the CPU, in cuBLAS, in CUDA's own calls
OUT_OF_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
THREADS = torch.get_num_threads()  # torch's own choice, before a run makes another


def pick_device(cfg: TrainConfig) -> torch.device:
    """Return the device that `train.device` means here."""
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda: torch finds no CUDA device here")
    return torch.device("cuda" if cfg.device != "cpu" and torch.cuda.is_available() else "cpu")


def use_threads(cfg: TrainConfig) -> None:
    """Let torch use `train.threads` CPU threads, or as many as it chose itself, whatever the run before used."""
    torch.set_num_threads(cfg.threads or THREADS)


def pick_precision(cfg: TrainConfig, device: torch.device) -> str:
    """Return "fp32" or "bf16": what `train.precision` means on this device."""
    if cfg.precision != "auto":
        return cfg.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in bf16 where the precision says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory held so far: on the GPU by tensors, on the CPU by the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
