"""What a sweep would run: every job's config, checked, and the folder in which its result is or will be."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from glue_pool import composing, results, schema
from glue_pool.errors import UserError
from glue_pool.result import Result
from glue_pool.results import RunFolder
from glue_pool.schema import Config


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    label: the overrides in which it differs from the sweep's other runs.
    """

    cfg: Config
    folder: RunFolder
    label: str

    def result(self) -> Result | None:
        """Return the completed result that stands for this run, if it is there."""
        return self.folder.read_completed(with_model=self.cfg.save_model)

    def is_left(self) -> bool:
        """Say whether there is anything to do."""
        return self.cfg.force or self.result() is None

    def again(self) -> "Planned":
        """Return the run as it goes on after its process died: a forced one has begun anew already."""
        return replace(self, cfg=replace(self.cfg, force=self.cfg.force and self.result() is not None))

    def unforced(self) -> "Planned":
        """Return the run as it is content with a result that another process has made."""
        return replace(self, cfg=replace(self.cfg, force=False))


def plan(loader: ConfigLoader, config: DictConfig, jobs: Sequence[Sequence[str]]) -> list[Planned]:
    """Compose and check every job of a sweep, given by its overrides on the sweep's own config.

    Raises UserError with the job's overrides if it can't be composed, or its data or encoder aren't there.
    """
    planned = []
    for label, cfg in zip(_labels(jobs), compose(loader, config, jobs), strict=True):
        with naming(label):
            planned.append(Planned(cfg, results.find(cfg), label or cfg.task.name))
    return planned


def grid(loader: ConfigLoader, params: Mapping[str, Any], overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every job: all combinations of the values in `params` and in `overrides`, which win."""
    given = [*(f"{key}={value}" for key, value in params.items()), *overrides]
    by_key: dict[str, list[str]] = {}
    for override in composing.parsed(given):
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UserError(f"{override.input_line}: a grid takes single values, as 1,2,3 or range(1,4)")
        by_key[override.get_key_element()] = composing.single(loader, override)
    return [list(job) for job in product(*by_key.values())]


def compose(loader: ConfigLoader, config: DictConfig, jobs: Sequence[Sequence[str]]) -> list[Config]:
    """Return the checked config of every job of a sweep; raises UserError with the job's overrides."""
    composer = _Composer(loader, config)
    composed = []
    for label, overrides in zip(_labels(jobs), jobs, strict=True):
        with naming(label):
            composed.append(schema.check(composer.compose(overrides)))
    return composed


def _labels(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return of each job the overrides that not all jobs have."""
    common = set(jobs[0]).intersection(*jobs)
    return [" ".join(override for override in job if override not in common) for job in jobs]


@contextmanager
def naming(label: str) -> Iterator[None]:
    """Say of an error which job has it."""
    before = f"{label}: " if label else ""
    try:
        yield
    except UserError as error:
        said = str(error)
        is_named = label and said.startswith((before, f"{label} "))
        raise UserError(said if is_named else f"{before}{said}", key=error.key) from None
    except composing.REFUSALS as error:
        refused = composing.explained(error)
        raise UserError(f"{before}{refused}", key=refused.key) from None


class _Composer:
    """Composes jobs one after another; those that choose the same groups are composed by Hydra once.

    That takes 0.08 s a job. Values are set afterwards, as Hydra does it; but what reads Hydra's own node, `${hydra:…}`,
    is composed job by job.
    """

    def __init__(self, loader: ConfigLoader, config: DictConfig) -> None:
        self._config = config
        self._loader = loader
        self._groups: dict[str, bool] = {}  # whether a key is one
        self._composed: dict[tuple[str, ...], DictConfig] = {}  # by the groups' choices
        self._of_hydra: set[tuple[str, ...]] = set()  # those that read Hydra's own node
        self._jobs = 0

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        self._jobs += 1
        parsed = composing.parsed(overrides)
        values = [override for override in parsed if self._is_value(override)]
        choices = tuple(str(override.input_line) for override in parsed if not self._is_value(override))
        if choices not in self._composed:
            self._composed[choices] = self._compose(choices)
            if "${hydra:" in OmegaConf.to_yaml(self._composed[choices]):
                self._of_hydra.add(choices)
        if choices in self._of_hydra or any("${hydra:" in str(override.value()) for override in parsed):
            return self._compose(overrides)
        composed = deepcopy(self._composed[choices])
        for override in values:
            OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
        return composed

    def _is_value(self, override: Override) -> bool:
        if override.is_add() or override.is_delete() or override.is_hydra_override():
            return False
        name = override.key_or_group
        if name not in self._groups:
            self._groups[name] = composing.is_group(self._loader, override)
        return not self._groups[name]

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return composing.settled(self._loader.load_sweep_config(self._config, list(overrides)), self._jobs - 1)
