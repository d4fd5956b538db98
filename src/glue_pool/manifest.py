"""What a run was made with: versions, commit, hardware, precision and data. No environment variables, no secrets."""

import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from glue_pool import results
from glue_pool.data.load import TaskData
from glue_pool.hardware import Hardware
from glue_pool.models.factory import Blueprint
from glue_pool.schema import Config

PACKAGES = (
    "glue-pool",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "hydra-core",
    "omegaconf",
    "wandb",
    "numpy",
    "scipy",
    "scikit-learn",
)


def manifest(cfg: Config, key: str, blueprint: Blueprint, data: TaskData, hardware: Hardware) -> dict[str, Any]:
    """Describe a run before it starts, as plain data."""
    return {
        "run_key": key,
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git(),
        "hardware": {**_machine(), "threads": torch.get_num_threads(), "device": hardware.device.type},
        "precision": hardware.precision,
        "batching": blueprint.batching,
        "encoder": {
            "name": cfg.encoder.name,
            "weights": blueprint.weights,
            "identity": blueprint.identity,
            "model_type": blueprint.encoder_config.model_type,
        },
        "recipe_identity": results.recipe_id(cfg),
        "data": data.about,
        "splits": data.splits,
    }


@lru_cache
def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache
def _git() -> dict[str, Any] | None:
    """Commit of the checkout that this code runs from, and whether it has uncommitted changes; None without one."""
    try:
        _, commit, status = (
            subprocess.run(
                ["git", *arguments],
                cwd=Path(__file__).parent,
                capture_output=True,
                encoding="utf-8",
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (
                ["ls-files", "--error-unmatch", Path(__file__).name],  # else it is installed in somebody else's
                ["rev-parse", "HEAD"],
                ["status", "--porcelain", "--", "."],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "modified": bool(status)}


@lru_cache
def _machine() -> dict[str, Any]:
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "platform": platform.platform(),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": gpu,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
