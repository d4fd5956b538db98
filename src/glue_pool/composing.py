"""Hydra on glue-pool's configs and one's own: which groups and choices it finds, and what it refuses, in one line."""

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigResult
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from glue_pool import schema
from glue_pool.choices import CONF
from glue_pool.disk import missing
from glue_pool.errors import UserError, nearest
from glue_pool.schema import Config

ConfigStore.instance().store(name="glue_pool_schema", node=Config)

REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError)  # what composing raises


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[Hydra]:
    """Open Hydra on conf/, one's own folder and `hydra.searchpath`, for groups and their choices alike.

    args: a command line, as Hydra's parser takes it apart. A Hydra that was open in this process is open again
    afterwards.
    """
    path = create_config_search_path(main_folder(args))
    if args.config_dir:
        if not os.path.isdir(args.config_dir):
            raise UserError(f"--config-dir {args.config_dir}: {missing(Path(args.config_dir))}")
        where = f"file://{args.config_dir}"  # as it was given, for messages
        path.prepend(provider="command-line", path=where, anchor=SearchPathQuery(provider="schema"))
    with apart():
        hydra = Hydra.create_main_hydra2("train", path)
        loader, name = hydra.config_loader, config_name(args)
        assert isinstance(loader, ConfigLoaderImpl)
        given = [override for override in args.overrides if override.startswith("hydra.searchpath=")]
        try:  # Hydra itself looks there while it composes, but not for what glob() matches
            _, found = loader._parse_overrides_and_create_caching_repo(name, given)
        except REFUSALS as error:
            raise explained(error, "".join(given) or name) from None
        loader.repository = found.delegate  # type: ignore[assignment]
        yield hydra


def main_folder(args: argparse.Namespace) -> str:
    """Return where the primary config is."""
    folder = str(args.config_path or CONF)
    return folder if "://" in folder else os.path.abspath(folder)


def config_name(args: argparse.Namespace) -> str:
    """Return the primary config's name."""
    return str(args.config_name or "config")


@contextmanager
def apart() -> Iterator[None]:
    """Set aside what Hydra keeps for a process, a notebook's own Hydra among it, and bring it back in the end."""
    kinds: tuple[type, ...] = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
    kept = {kind: Singleton._instances.pop(kind) for kind in kinds if kind in Singleton._instances}
    Plugins.instance()  # registers Hydra's own sources, if nobody has yet
    sources = SourcesRegistry.instance().types
    of_files = sources["file"]
    try:
        version.setbase("1.3")
        sources["file"] = _Files
        yield
    finally:
        sources["file"] = of_files
        for kind in kinds:
            Singleton._instances.pop(kind, None)
        Singleton._instances |= kept


class _Files(FileConfigSource):
    """A folder of YAML files in UTF-8, of which some begin with a byte-order mark: `# @package` stands behind it."""

    def load_config(self, config_path: str) -> ConfigResult:
        file = Path(self.path, self._normalize_file_name(config_path))
        try:
            loaded = super().load_config(config_path)
            with file.open(encoding="utf-8-sig") as text:
                loaded.header = self._get_header_dict(text.read(512))
        except UnicodeDecodeError:
            raise UserError(f"{file}: is not UTF-8 text") from None
        except PermissionError as error:
            raise UserError(f"{file}: can't be read ({error.strerror})") from None
        return loaded


def is_group(loader: ConfigLoader, override: Override) -> bool:
    """Whether an override with a single value is one of a group's choice, as Hydra has it."""
    value = None if override.is_sweep_override() else override.value()
    return not isinstance(value, dict) and bool(_in_group(loader, override.key_or_group))


def options(loader: ConfigLoader, group: str) -> list[str]:
    """Return a group's choices, those in folders below it as `folder/choice`."""
    below = _in_group(loader, group, ObjectType.GROUP)
    inner = [f"{folder}/{choice}" for folder in below for choice in options(loader, f"{group}/{folder}")]
    return [*_in_group(loader, group, ObjectType.CONFIG), *inner]


def _in_group(loader: ConfigLoader, group: str, kind: ObjectType | None = None) -> list[str]:
    """Return what is in a group, without the copy of all sources that the loader makes each time it is asked."""
    assert isinstance(loader, ConfigLoaderImpl)
    return loader.repository.get_group_options(group, kind)


def single(loader: ConfigLoader, override: Override) -> list[str]:
    """Return what the jobs of a sweep have in an override's place: one with each of its values, as Hydra has it.

    A glob with a slash matches choices in folders, too. Raises UserError for one that matches nothing.
    """
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not isinstance(given := override.value(), Glob):
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not is_group(loader, override):
        raise UserError(f"{override.input_line}: glob() is for groups; a key takes its values, a,b,c")
    there = options(loader, override.key_or_group)
    depths = {pattern.count("/") for pattern in given.include}
    if not (matching := given.filter([choice for choice in there if choice.count("/") in depths])):
        raise UserError(f"{override.input_line}: matches none of {', '.join(there)}")
    return [f"{key}={choice}" for choice in matching]


def parsed(overrides: Sequence[str]) -> list[Override]:
    """Return overrides as Hydra reads them."""
    return OverridesParser.create().parse_overrides(list(overrides))


def settled(composed: DictConfig, job: int | None = None) -> DictConfig:
    """Take Hydra's own node out of what it composed; `${hydra:…}` in the rest is read from it, as in a job.

    job: the place among a sweep's jobs, which are numbered from 0.
    """
    if job is not None:
        with open_dict(composed):
            composed.hydra.job.num, composed.hydra.job.id = job, f"job_id_for_{job}"  # as Hydra's own launcher has it
    HydraConfig.instance().set_config(composed)
    with open_dict(composed):
        del composed["hydra"]
    return composed


def explained(error: Exception, culprit: str = "") -> UserError:
    """Return in one line what was refused while composing, with the nearest key or choice.

    culprit: the override or config that is to blame, where that is known.
    """
    cause = _cause(error)
    before = f"{culprit}: " if culprit else ""
    key = culprit.lstrip("+").partition("=")[0]
    if isinstance(cause, RecursionError):
        said = "has no end: a file is among its own defaults, or an anchor within itself"
        return UserError(f"{before or 'the config '}{said}", key=key or None)
    if isinstance(cause, MarkedYAMLError) and cause.problem_mark:
        return UserError(f"{before}{cause.problem_mark.name}:{cause.problem_mark.line + 1}: {cause.problem}")
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        said = f"{group}={choice}"
        there = ", ".join(error.options)
        where = "" if culprit.lstrip("+") == said else before
        return UserError(f"{where}{said}: no such {group}{nearest(choice, error.options)} (there are {there})")
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        near = nearest(str(cause.key), list(cause.parent_node or ()))
        of_class = str(cause.full_key).rpartition(".")[0] in schema.COMPONENTS
        if (
            OmegaConf.get_type(cause.parent_node) is dict
            and not of_class
            and not str(cause.full_key).startswith("hydra.")
        ):
            near = f"; +{cause.full_key}=… adds it"
        return UserError(f"{cause.full_key}: no such key{near}")
    if refused := schema.refused(error):
        if culprit.startswith("+") and refused.key == key:
            way = f"its file begins with # @package _global_, or is put into a section: +{key}@train=…"
            return UserError(f"{before}{refused}; {way}", key=refused.key)
        said = str(refused).removeprefix(f"{key}: ")  # the culprit has named it
        return UserError(f"{before}{said}", key=refused.key)
    if culprit.startswith("+") and "Multiple values for" in str(error):
        return UserError(f"{before}{key} has a choice already; {culprit.lstrip('+')} takes its place")
    of_file = not isinstance(cause, HydraException) or f"In '{key}/" in str(cause)
    return UserError(f"{before}{_said(cause)}", key=key if of_file and key else None)


def _cause(error: BaseException) -> BaseException:
    while error.__cause__:
        error = error.__cause__
    return error


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if lines[0].endswith(":"):
        return " ".join(lines[:2])
    return " ".join(line.strip() for line in lines) if isinstance(error, HydraException) else lines[0]
