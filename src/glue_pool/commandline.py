"""What is wrong with a command line, said in one line before Hydra starts: Hydra names no nearest valid choice."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glue_pool.errors import UserError
from glue_pool.schema import nearest


def check(argv: Sequence[str], conf: Path) -> None:
    """Refuse a misspelt group, choice or key, and a value of the wrong type, of any job of a sweep."""
    args = get_args_parser().parse_args(list(argv))
    if args.help or args.hydra_help or args.shell_completion or args.info:
        return
    try:
        overrides = OverridesParser.create().parse_overrides(args.overrides)
    except OverrideParseException as error:
        raise UserError(f"{error.override}: not of the form key=value") from None
    folders = [conf]
    if args.config_dir:
        folders.append(Path(args.config_dir).resolve())
        if not folders[-1].is_dir():
            raise UserError(f"--config-dir {args.config_dir}: there is no such folder")
    groups = _groups(overrides, folders)
    with initialize_config_dir(str(conf), version_base="1.3"):
        chosen = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders[1:])}]"]
        chosen += [f"{o.key_or_group}={_choices(o)[0]}" for o in overrides if o.key_or_group in groups]
        composed = _compose(chosen)
        known = list(_flat(composed))
        for override in overrides:
            key = override.key_or_group
            if key in groups or key.split(".")[0] == "hydra" or key.startswith("hydra/"):
                continue
            if key not in known:
                words = [*known, *groups]
                raise UserError(f"{key}: no such key{nearest(key, words)}")
            if not override.is_sweep_override() and not override.is_delete():
                _compose([*chosen, str(override.input_line)])


def _groups(overrides: Sequence[Override], folders: Sequence[Path]) -> list[str]:
    """Return the config groups in these folders; refuse an override that names none of a group's files."""
    options: dict[str, list[str]] = {}
    for folder in folders:
        for file in folder.glob("*/*.yaml"):
            options.setdefault(file.parent.name, []).append(file.stem)
    for override in overrides:
        for choice in _choices(override) if override.key_or_group in options else ():
            if choice not in {*options[override.key_or_group], "null"}:
                group, files = override.key_or_group, sorted(options[override.key_or_group])
                raise UserError(
                    f"{group}={choice}: no such {group}{nearest(choice, files)} (there are {', '.join(files)})"
                )
    return sorted(options)


def _choices(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(choice) for choice in override.sweep_string_iterator()]
    value = override.value()
    return ["null" if value is None else str(value)]


def _compose(overrides: list[str]) -> DictConfig:
    try:
        return compose("config", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().splitlines()[0]
        raise UserError(f"{overrides[-1]}: {reason}") from None


def _flat(node: Any, prefix: str = "") -> Iterator[str]:
    for name in node:
        yield f"{prefix}{name}"
        child = node._get_node(name)
        if OmegaConf.is_dict(child) and not child._is_none():
            yield from _flat(child, f"{prefix}{name}.")
