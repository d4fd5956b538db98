"""A command line of `train`: checked before anything runs, what runs it stands for, and what Hydra does with it.

A mistake is one line that names the nearest valid choice, which Hydra doesn't.
"""

import argparse
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode, TaskFunction
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from glue_pool import choices, components, schema
from glue_pool.choices import CONF
from glue_pool.errors import Held, TrainingFailed, UserError, nearest
from glue_pool.schema import Config

ConfigStore.instance().store(name="glue_pool_schema", node=Config)


@dataclass(frozen=True)
class Line:
    """A command line that was checked.

    args: what Hydra's parser made of it; sweep: whether it stands for several runs, by -m or by an experiment.
    """

    args: argparse.Namespace
    sweep: bool = False

    @property
    def shows(self) -> bool:
        """Whether it asks to be shown something, help or a config, and so stands for no run."""
        args = self.args
        return bool(args.help or args.hydra_help or args.shell_completion or args.info or args.cfg)

    @property
    def overrides(self) -> list[str]:
        """What Hydra is to compose with; an experiment may have another mode."""
        return [*self.args.overrides, f"hydra.mode={self.mode.name}"]

    @property
    def mode(self) -> RunMode:
        """What Hydra calls a sweep or a single run."""
        return RunMode.MULTIRUN if self.sweep else RunMode.RUN


def jobs(argv: Sequence[str]) -> list[Config]:
    """Return the config of every run that a command line of `train` stands for, composed and checked, in order.

    Raises UserError at the first that can't be used, or if the line asks for help or a config.
    """
    return configs(check(argv))


def configs(line: Line) -> list[Config]:
    """Return the config of every run of a checked line."""
    with located(line.args):
        return _configs(line)


def _configs(line: Line) -> list[Config]:
    from glue_pool.sweeps import plan

    if line.shows:
        raise UserError("help and configs are shown by glue-pool train: there are no runs in this command line")
    with opened(line.args) as hydra, _named():
        config = hydra.compose_config(
            _config_name(line.args), line.overrides, run_mode=line.mode, with_log_configuration=False
        )
        if line.sweep:
            loader, params = hydra.config_loader, config.hydra.sweeper.get("params") or {}
            grid = plan.grid(loader, params, config.hydra.overrides.task)
            return plan.compose(loader, config, grid)
        with open_dict(config):
            del config["hydra"]
        return [schema.check(config)]


def hand_over(line: Line, task: TaskFunction) -> None:
    """Let Hydra do what a checked line says: call the task, or a sweep's launcher, or show help or a config.

    Raises what the task raises.
    """
    ended: list[Exception] = []

    def only_task(config: DictConfig) -> Any:
        try:
            return task(config)
        except (UserError, TrainingFailed, Held) as error:  # Hydra would write a line of its own
            ended.append(error)
            return math.nan

    if line.shows:
        return _show(line, task)
    with located(line.args):
        _hand_over(line, task, only_task)
        if ended:
            raise ended.pop()  # it holds its frames, which are not to hold it


def _hand_over(line: Line, task: TaskFunction, only_task: TaskFunction) -> None:
    with opened(line.args) as hydra, _named():
        if line.sweep:
            hydra.multirun(_config_name(line.args), task, line.overrides)
        else:
            hydra.run(_config_name(line.args), only_task, line.overrides)


def _show(line: Line, task: TaskFunction) -> None:
    shown = io.StringIO()  # a pipe that nobody reads is not Hydra's to complain of
    try:
        with _apart(), redirect_stdout(shown):
            _run_hydra(line.args, get_args_parser(), task, str(_main_folder(line.args)), "config")
    except ValueError as error:
        raise UserError(str(error)) from None
    finally:
        print(shown.getvalue(), end="")


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[Hydra]:
    """Open Hydra on conf/ and one's own folder; a Hydra that was open in this process is open again afterwards."""
    path = create_config_search_path(str(_main_folder(args)))
    if args.config_dir:
        folder = Path(args.config_dir).absolute()
        path.prepend(provider="command-line", path=f"file://{folder}", anchor=SearchPathQuery(provider="schema"))
    with _apart():
        yield Hydra.create_main_hydra2("train", path)


@contextmanager
def _apart() -> Iterator[None]:
    """Set aside what Hydra keeps for a process, a notebook's own Hydra among it, and bring it back in the end."""
    kinds: tuple[type, ...] = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
    kept: dict[type, Any] = {kind: Singleton._instances.pop(kind) for kind in kinds if kind in Singleton._instances}
    try:
        version.setbase("1.3")
        yield
    finally:
        for kind in kinds:
            Singleton._instances.pop(kind, None)
        Singleton._instances |= kept


@contextmanager
def _named() -> Iterator[None]:
    """Say in one line what Hydra refuses."""
    try:
        yield
    except HydraException as error:
        cause = _cause(error)
        if isinstance(cause, ConfigKeyError | ConfigAttributeError):
            near = nearest(str(cause.key), list(cause.parent_node or ()))
            if OmegaConf.get_type(cause.parent_node) is dict and not str(cause.full_key).startswith("hydra."):
                near = f"; +{cause.full_key}=… adds it"
            raise UserError(f"{cause.full_key}: no such key{near}") from error
        raise UserError(_first_line(cause)) from error


@contextmanager
def located(args: argparse.Namespace) -> Iterator[None]:
    """Name file and line of the value that is to blame, where it stands in a YAML of one's own folder."""
    try:
        yield
    except UserError as error:
        if not (place := _place(args, error)):
            raise
        raise UserError(f"{place}: {error}") from error


def _place(args: argparse.Namespace, error: UserError) -> str | None:
    given = [override.lstrip("+") for override in args.overrides]
    is_given = "." in (error.key or "") and any(
        override.startswith((f"{error.key}=", f"{error.key}.")) for override in given
    )
    if not args.config_dir or not error.key or is_given:
        return None
    group, *names = re.sub(r"\[.*", "", error.key).split(".")
    chosen = [of for override in given if override.startswith(f"{group}=") for of in override.split("=")[1].split(",")]
    if len(chosen) > 1:  # a sweep's message says which job
        chosen = [choice for choice in chosen if f"{group}={choice}" in re.split(r"[ :]", str(error))]
    file = Path(args.config_dir, group, f"{chosen[0]}.yaml") if len(chosen) == 1 else None
    if not file or not file.is_file():
        return None
    line = choices.line(file, names)
    return f"{file}:{line}" if line else str(file)


def _main_folder(args: argparse.Namespace) -> Path:
    return Path(args.config_path or CONF).absolute()


def _config_name(args: argparse.Namespace) -> str:
    return str(args.config_name or "config")


def check(argv: Sequence[str], several: str = "put -m before them") -> Line:
    """Refuse a misspelt group, choice or key, and a value of the wrong type or range, of any job of a sweep.

    several: what to do about several values of a key where -m isn't given.
    """
    args = _arguments(argv)
    if (line := Line(args)).shows and not args.cfg:
        return line
    with located(args):
        return _check(args, several)


def _check(args: argparse.Namespace, several: str) -> Line:
    try:
        overrides = OverridesParser.create().parse_overrides(args.overrides)
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: not understood; it takes key=value, and a value with special characters takes "
            "quotes that the shell leaves: 'key=\"a b\"'"
        ) from None
    hydras_own = [
        o.input_line for o in overrides if o.key_or_group.startswith("hydra/") or o.key_or_group == "hydra.mode"
    ]
    overrides = [override for override in overrides if not override.is_hydra_override()]
    groups = _groups(overrides, Path(args.config_dir) if args.config_dir else None)
    with opened(args) as hydra:
        picked = [o for o in overrides if o.key_or_group in groups]
        chosen = [f"{o.key_or_group}={_choices(o, groups[o.key_or_group])[0]}" for o in picked]
        composed = _compose(hydra, _config_name(args), [*chosen, *map(str, hydras_own)])
    line = Line(args, sweep=args.multirun or composed.hydra.mode == RunMode.MULTIRUN)  # the latter by an experiment
    with open_dict(composed):
        del composed["hydra"]
    for override in overrides:
        if override.is_sweep_override() and not line.sweep:
            raise UserError(f"{override.input_line}: several values are a sweep; {several}")
    known = list(_flat(composed))
    unlisted = [f"{section}.{name}" for section in schema.COMPONENTS for name in _unlisted(composed, section)]
    for override in overrides:
        key = override.key_or_group
        if key in groups:
            continue
        is_new = key in unlisted or _open(composed, key.rpartition(".")[0])
        if key not in known and is_new and not override.is_add():
            raise UserError(f"{key}: its YAML does not list it; +{key}=… adds it")
        if key not in known and not is_new:
            raise UserError(f"{key}: no such key{nearest(key, [*known, *groups])}")
        for value in _values(override):
            _set(composed, key, value)
            schema.check(composed, whole=False)
    return line


def _open(composed: DictConfig, key: str) -> bool:
    """Whether a key holds others by any name, as task.source.files does."""
    node = OmegaConf.select(composed, key) if key and key not in schema.COMPONENTS else None
    return isinstance(node, DictConfig) and OmegaConf.get_type(node) is dict


def _unlisted(composed: DictConfig, section: str) -> list[str]:
    """Return the keywords of a component's class that its YAML does not list."""
    content = composed[section]
    target = content.get("_target_")
    said = components.in_source(str(target)) if target else None
    return list(said.missing(content)) if said else []


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()
    parser.exit_on_error = False  # its usage takes nine lines
    if "--version" in argv:
        from importlib import metadata

        shown: Any = next(action for action in parser._actions if action.dest == "version")
        shown.version = f"glue-pool {metadata.version('glue-pool')} ({shown.version})"
    try:
        args, rest = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    if rest:
        raise UserError(
            f"{rest[0]}: not understood; options such as -m stand before or after all key=value (see --help)"
        )
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun: it would read a pickle, which can run code; config.yaml has the keys")
    return args


def _groups(overrides: Sequence[Override], own: Path | None) -> dict[str, list[str]]:
    """Return the config groups and their files; refuse an override that removes one or names none of its files."""
    options = {group.name: sorted(group.files) for group in choices.groups(own)}
    needed = {section.name for section in fields(Config)} - {"model"}  # a shorthand
    for override in overrides:
        group = override.key_or_group
        files = options.get(group, [])
        if override.is_delete():
            other = f" ({', '.join(files)})" if files else ""
            raise UserError(f"~{group}: a run needs every key; choose another value with {group}=…{other}")
        for choice in _choices(override, files) if files else ():
            _check_name(group, choice, own)
            if choice not in files and (choice != "null" or group in needed):
                raise UserError(
                    f"{group}={choice}: no such {group}{nearest(choice, files)} (there are {', '.join(files)})"
                )
    return options


def _check_name(group: str, choice: str, own: Path | None) -> None:
    """Refuse a file of one's own that Hydra would not read, since glue-pool's has the same name."""
    mine, shipped = (folder / group / f"{choice}.yaml" if folder else None for folder in (own, CONF))
    if mine and shipped and mine.is_file() and shipped.is_file() and mine.read_bytes() != shipped.read_bytes():
        raise UserError(f"{group}={choice}: {mine} is not read: a {group} of that name comes with glue-pool; rename it")


def _choices(override: Override, files: list[str]) -> list[str]:
    if isinstance(given := override.value(), Glob):
        if not (matching := given.filter(files)):
            raise UserError(f"{override.input_line}: matches none of {', '.join(files)}")
        return list(matching)
    if override.is_sweep_override():
        return [str(choice) for choice in override.sweep_string_iterator()]
    return ["null" if given is None else str(given)]


def _values(override: Override) -> list[Any]:
    """Return what a key is set to: one value, or every one of a sweep; none of a continuous one."""
    if isinstance(override.value(), Glob):
        raise UserError(f"{override.input_line}: glob() is for groups; a key takes its values, a,b,c")
    if override.is_discrete_sweep():
        return [Override._convert_value(value) for value in override.sweep_iterator()]
    return [] if override.is_sweep_override() else [override.value()]


def _set(composed: DictConfig, key: str, value: Any) -> None:
    try:
        with open_dict(composed):
            OmegaConf.update(composed, key, value, merge=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}={'null' if value is None else value}: {_first_line(error)}") from None


def _compose(hydra: Hydra, name: str, overrides: list[str]) -> DictConfig:
    try:
        return hydra.compose_config(
            name, overrides, run_mode=RunMode.RUN, from_shell=False, with_log_configuration=False
        )
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
        for fewer in range(len(overrides)):  # the first that can't be composed is the culprit
            _compose(hydra, name, overrides[:fewer])
        culprit = overrides[-1] if overrides else name
        cause = _cause(error)
        if isinstance(cause, RecursionError):
            said = "has no end: a file is among its own defaults, or an anchor within itself"
            raise UserError(f"{culprit}: {said}", key=culprit.partition("=")[0]) from None
        if isinstance(cause, MarkedYAMLError) and cause.problem_mark:
            said = f"{cause.problem_mark.name}:{cause.problem_mark.line + 1}: {cause.problem}"
            raise UserError(f"{culprit}: {said}") from None
        if isinstance(error, MissingConfigException) and error.options:
            group, _, choice = culprit.partition("=")
            there = ", ".join(error.options)
            raise UserError(f"{culprit}: no such {group}{nearest(choice, error.options)} (there are {there})") from None
        if refused := schema.refused(error):
            raise UserError(f"{culprit}: {refused}", key=refused.key) from None
        raise UserError(f"{culprit}: {_first_line(cause)}", key=culprit.partition("=")[0]) from None


def _cause(error: BaseException) -> BaseException:
    while error.__cause__:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _flat(node: Any, prefix: str = "") -> Iterator[str]:
    for name in node:
        yield f"{prefix}{name}"
        child = node._get_node(name)
        if OmegaConf.is_dict(child) and not child._is_none():
            yield from _flat(child, f"{prefix}{name}.")
