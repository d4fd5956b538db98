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

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override, Sweep
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

from glue_pool import choices, components, composing, schema
from glue_pool.choices import CONF
from glue_pool.composing import config_name, opened
from glue_pool.errors import Held, TrainingFailed, UserError, nearest
from glue_pool.schema import Config
from glue_pool.shell import expanded

NEEDED = {section.name for section in fields(Config)} - {"model"}  # which is a shorthand


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
            config_name(line.args), line.overrides, run_mode=line.mode, with_log_configuration=False
        )
        if line.sweep:
            loader, params = hydra.config_loader, config.hydra.sweeper.get("params") or {}
            overrides: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
            grid = plan.grid(loader, params, overrides)
            return plan.compose(loader, config, grid)
        return [schema.check(composing.settled(config))]


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
            hydra.multirun(config_name(line.args), task, line.overrides)
        else:
            hydra.run(config_name(line.args), only_task, line.overrides)


def _show(line: Line, task: TaskFunction) -> None:
    shown = io.StringIO()  # a pipe that nobody reads is not Hydra's to complain of
    try:
        with composing.apart(), redirect_stdout(shown):
            _run_hydra(line.args, get_args_parser(), task, composing.main_folder(line.args), "config")
    except ValueError as error:
        raise UserError(str(error)) from None
    finally:
        print(shown.getvalue(), end="")


@contextmanager
def _named() -> Iterator[None]:
    """Say in one line what Hydra refuses."""
    try:
        yield
    except HydraException as error:
        raise composing.explained(error) from error


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
    if not error.key or is_given:
        return None
    group, *names = re.sub(r"\[.*", "", error.key).split(".")
    chosen = [of for override in given if override.startswith(f"{group}=") for of in override.split("=")[1].split(",")]
    if len(chosen) > 1:  # a sweep's message says which job
        chosen = [choice for choice in chosen if f"{group}={choice}" in re.split(r"[ :]", str(error))]
    if len(chosen) != 1:
        return None
    with opened(args) as hydra:
        folders = [Path(source.path) for source in hydra.config_loader.get_sources() if source.scheme() == "file"]
    files = [folder / group / f"{chosen[0]}.yaml" for folder in folders if folder != CONF]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    line = choices.line(file, names)
    return f"{file}:{line}" if line else str(file)


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
        overrides = composing.parsed(args.overrides)
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: not understood; it takes key=value, and a value with special characters takes "
            "quotes that the shell leaves: 'key=\"a b\"'"
        ) from None
    with opened(args) as hydra:
        loader = hydra.config_loader
        picked: list[str] = []  # what Hydra composes with, before values are set
        values: list[list[Override]] = []  # of each other override what jobs have in its place
        for override in overrides:
            each = _each(loader, override)
            if override.is_hydra_override():
                picked.append(str(override.input_line))
            elif composing.is_group(loader, each[0] if each else override):
                _check_choices(loader, override, each)
                picked += [str(choice.input_line) for choice in each[:1]]
            else:
                values.append(each or [override])
        composed = _compose(hydra, config_name(args), picked)
        line = Line(args, sweep=args.multirun or composed.hydra.mode == RunMode.MULTIRUN)  # the latter by an experiment
        for override in overrides:
            if override.is_sweep_override() and not line.sweep:
                raise UserError(f"{override.input_line}: several values are a sweep; {several}")
        _check_values(loader, composing.settled(composed, 0 if line.sweep else None), values)
    return line


def _each(loader: ConfigLoader, override: Override) -> list[Override]:
    """Return what the jobs of a sweep have in an override's place; none of a range without steps."""
    if not override.is_sweep_override():
        return [override]
    if override.is_hydra_override():
        raise UserError(f"{override.input_line}: what is Hydra's own takes one value, in a sweep as well")
    values: Any = override.value()
    if any(isinstance(value, Sweep) for value in getattr(values, "list", ())):
        raise UserError(f"{override.input_line}: a sweep within a sweep; write its values out, as 1,2,3")
    return composing.parsed(composing.single(loader, override)) if override.is_discrete_sweep() else []


def _check_choices(loader: ConfigLoader, override: Override, each: Sequence[Override]) -> None:
    """Refuse a choice that there is not, the removal of a group that a run needs, and a file that would not be read."""
    group, there = override.key_or_group, composing.options(loader, override.key_or_group)
    if override.is_delete():
        if group in NEEDED:
            raise _needed(group, f" ({', '.join(there)})")
        return
    for choice in (choice for job in each for choice in _listed(job.value())):
        if choice == "null" and group not in NEEDED:
            raise UserError(f"{group}=null: Hydra takes no null for a group; leave it out, or ~{group}")
        sources = [source for source in loader.get_sources() if source.is_config(f"{group}/{choice}")]
        if not sources and "${" not in choice:
            near = nearest(choice, there)
            raise UserError(f"{group}={choice}: no such {group}{near} (there are {', '.join(there)})")
        read, *others = [Path(of.path, group, f"{choice}.yaml") for of in sources if of.scheme() == "file"] or [CONF]
        if read.is_relative_to(CONF) and (other := next((file for file in others if _differ(file, read)), None)):
            raise UserError(
                f"{group}={choice}: {other} is not read: a {group} of that name comes with glue-pool; rename it"
            )


def _listed(given: Any) -> list[str]:
    return [str(choice) for choice in given] if isinstance(given, list) else ["null" if given is None else str(given)]


def _differ(file: Path, other: Path) -> bool:
    return file.is_file() and other.is_file() and file.read_bytes() != other.read_bytes()


def _needed(key: str, other: str = "") -> UserError:
    return UserError(f"~{key}: a run needs every key; choose another value with {key}=…{other}")


def _check_values(loader: ConfigLoader, composed: DictConfig, values: Sequence[list[Override]]) -> None:
    """Refuse a key that there is not, and a value that it can't have.

    values: overrides, each with one value, by what jobs of a sweep have in their place. They are put into `composed`.
    """
    known = list(_flat(composed))
    unlisted = [f"{section}.{name}" for section in schema.COMPONENTS for name in _unlisted(composed, section)]
    for override in [first for first, *_ in values]:
        key, parent = override.key_or_group, override.key_or_group.rpartition(".")[0]
        is_new = key in unlisted or (parent not in schema.COMPONENTS and _open(composed, parent))
        if key not in known and is_new and not (override.is_add() or override.is_force_add()):
            raise UserError(f"{key}: its YAML does not list it; +{key}=… adds it")
        if key not in known and not is_new:
            raise UserError(f"{key}: no such key{nearest(key, [*known, *loader.list_groups('')])}")
        if override.is_delete() and not _open(composed, parent):
            raise _needed(key)
    for first, *_ in values:
        _set(composed, first)
    schema.check(composed, whole=False)
    for first, *others in values:
        for other in others:
            _set(composed, other)
            schema.check(composed, whole=False)
        if others:
            _set(composed, first)


def _open(composed: DictConfig, key: str) -> bool:
    """Whether a key holds others by any name, as task.source.files and a component's section do."""
    node = OmegaConf.select(composed, key) if key else None
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
    if args.config_dir:
        args.config_dir = expanded(args.config_dir, "--config-dir")
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun: it would read a pickle, which can run code; config.yaml has the keys")
    return args


def _set(composed: DictConfig, override: Override) -> None:
    """Put a value into what Hydra composed, as it does."""
    if override.is_sweep_override():  # a range without steps
        return
    try:
        ConfigLoaderImpl._apply_overrides_to_config([override], composed)
    except HydraException as error:
        raise composing.explained(error, str(override.input_line)) from None


def _compose(hydra: Hydra, name: str, overrides: list[str]) -> DictConfig:
    try:
        return hydra.compose_config(
            name, overrides, run_mode=RunMode.RUN, from_shell=False, with_log_configuration=False
        )
    except composing.REFUSALS as error:
        for fewer in range(len(overrides)):  # the first that can't be composed is the culprit
            _compose(hydra, name, overrides[:fewer])
        raise composing.explained(error, overrides[-1] if overrides else name) from None


def _flat(node: Any, prefix: str = "") -> Iterator[str]:
    for name in node:
        yield f"{prefix}{name}"
        child = node._get_node(name)
        if OmegaConf.is_dict(child) and not child._is_none():
            yield from _flat(child, f"{prefix}{name}.")
