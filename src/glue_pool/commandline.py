"""What is wrong with a command line, said in one line before Hydra starts: Hydra names no nearest valid choice."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from glue_pool import schema
from glue_pool.errors import UserError
from glue_pool.schema import Config, nearest


def check(argv: Sequence[str], conf: Path) -> None:
    """Refuse a misspelt group, choice or key, and a value of the wrong type or range, of any job of a sweep."""
    args = _arguments(argv)
    if args.help or args.hydra_help or args.shell_completion or args.info:
        return
    try:
        overrides = OverridesParser.create().parse_overrides(args.overrides)
    except OverrideParseException as error:
        raise UserError(
            f"{error.override}: not understood; it takes key=value, and a value with special characters takes "
            "quotes that the shell leaves: 'key=\"a b\"'"
        ) from None
    sweep = args.multirun or any(override.key_or_group == "hydra.mode" for override in overrides)
    hydras_own = [str(override.input_line) for override in overrides if override.key_or_group.startswith("hydra/")]
    overrides = [override for override in overrides if not override.is_hydra_override()]
    folders = [conf]
    if args.config_dir:
        folders.append(Path(args.config_dir).resolve())
        if not folders[-1].is_dir():
            raise UserError(f"--config-dir {args.config_dir}: there is no such folder")
    groups = _groups(overrides, folders)
    with initialize_config_dir(str(conf), version_base="1.3"):
        chosen = [f"hydra.searchpath={json.dumps([f'file://{f}' for f in folders[1:]], ensure_ascii=False)}"]
        picked = [o for o in overrides if o.key_or_group in groups]
        chosen += [f"{o.key_or_group}={_choices(o, groups[o.key_or_group])[0]}" for o in picked]
        composed = _compose([*chosen, *hydras_own])
    sweep = sweep or composed.hydra.mode == RunMode.MULTIRUN  # as an experiment says
    with open_dict(composed):
        del composed["hydra"]
    for override in overrides:
        if override.is_sweep_override() and not sweep:
            raise UserError(f"{override.input_line}: several values are a sweep; put -m before them")
    known = list(_flat(composed))
    for override in overrides:
        key = override.key_or_group
        if key in groups:
            continue
        if key not in known:
            raise UserError(f"{key}: no such key{nearest(key, [*known, *groups])}")
        for value in _values(override):
            _set(composed, key, value)
            schema.check(composed)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()
    parser.exit_on_error = False  # its usage takes nine lines
    try:
        args, rest = parser.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None
    if rest:
        raise UserError(
            f"{rest[0]}: not understood; options such as -m stand before or after all key=value (see --help)"
        )
    return args


def _groups(overrides: Sequence[Override], folders: Sequence[Path]) -> dict[str, list[str]]:
    """Return the config groups and their files; refuse an override that removes one or names none of its files."""
    options: dict[str, list[str]] = {}
    for folder in folders:
        for file in folder.glob("*/*.yaml"):
            options.setdefault(file.parent.name, []).append(file.stem)
    needed = {section.name for section in fields(Config)} - {"model"}  # a shorthand
    for override in overrides:
        group = override.key_or_group
        files = sorted(options.get(group, ()))
        if override.is_delete():
            other = f" ({', '.join(files)})" if files else ""
            raise UserError(f"~{group}: a run needs every key; choose another value with {group}=…{other}")
        for choice in _choices(override, files) if files else ():
            if choice not in files and (choice != "null" or group in needed):
                raise UserError(
                    f"{group}={choice}: no such {group}{nearest(choice, files)} (there are {', '.join(files)})"
                )
    return {group: sorted(files) for group, files in sorted(options.items())}


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
        OmegaConf.update(composed, key, value, merge=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{key}={'null' if value is None else value}: {_first_line(error)}") from None


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("config", overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        for fewer in range(1, len(overrides)):  # the first that can't be composed is the culprit
            _compose(overrides[:fewer])
        if isinstance(error, MissingConfigException) and error.options:
            group, _, choice = overrides[-1].partition("=")
            there = ", ".join(error.options)
            raise UserError(
                f"{overrides[-1]}: no such {group}{nearest(choice, error.options)} (there are {there})"
            ) from None
        cause: BaseException = error
        while cause.__cause__:
            cause = cause.__cause__
        raise UserError(f"{overrides[-1]}: {_first_line(cause)}") from None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _flat(node: Any, prefix: str = "") -> Iterator[str]:
    for name in node:
        yield f"{prefix}{name}"
        child = node._get_node(name)
        if OmegaConf.is_dict(child) and not child._is_none():
            yield from _flat(child, f"{prefix}{name}.")
