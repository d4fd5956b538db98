"""What there is to choose from: the YAML files of conf/ and of one's own folder, and what their first line says.

That line, after a `# @package` one, is a comment: a sentence, and at its end a source in parentheses.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from glue_pool.disk import missing
from glue_pool.errors import UserError, reason

_INSTALLED = Path(__file__).parent / "conf"  # in a wheel; in a checkout conf/ stands at the top
CONF = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "conf"

UNREADABLE = (OSError, ValueError, yaml.YAMLError, RecursionError)  # no UTF-8, no date, no YAML, no end of it
_DEFAULT = re.compile(r"\s*- (?:override )?/?(?P<group>[\w/]+): (?P<choice>\w+)(?:\s+# (?P<sentence>.*))?")


@dataclass(frozen=True)
class Choice:
    """A file of a group; `other_name_of` is the choice that it merely gives another name."""

    name: str
    sentence: str = ""
    source: str = ""
    other_name_of: str = ""


@dataclass(frozen=True)
class Group:
    """A config group: what config.yaml says of it and chooses, and its files by name, `folder/name` in a folder of it.

    sentence: empty for a group of one's own.
    """

    name: str
    sentence: str
    default: str
    files: dict[str, Path]

    def choices(self) -> list[Choice]:
        """Return what there is to choose from, by name."""
        return [read(file, name) for name, file in sorted(self.files.items())]


def groups(own: Path | None = None) -> list[Group]:
    """Return the groups of conf/ and of one's own folder, whose files add to those of conf/ and replace none."""
    if own and not os.path.isdir(own):
        raise UserError(f"--config-dir {own}: {missing(own)}")
    files: dict[str, dict[str, Path]] = {}
    for folder in (own, CONF) if own else (CONF,):
        for file in sorted(file for top in folder.glob("[!.]*/") for file in top.rglob("*.yaml")):
            parts = file.relative_to(folder).with_suffix("").parts
            depth = 2 if parts[0] == "hydra" else 1  # hydra/launcher
            if parts[depth:]:
                files.setdefault("/".join(parts[:depth]), {})["/".join(parts[depth:])] = file
    found = map(_DEFAULT.fullmatch, (CONF / "config.yaml").read_text(encoding="utf-8").splitlines())
    defaults = {match["group"]: (match["sentence"] or "", match["choice"]) for match in found if match}
    return [Group(name, *defaults.get(name, ("", "")), files[name]) for name in sorted(files)]


def read(file: Path, name: str = "") -> Choice:
    """Return what a config file says of itself; its name is the file's unless given."""
    name = name or file.stem
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text)
    except UNREADABLE as error:
        raise UserError(f"{file}: can't be read as YAML ({reason(error)})") from None
    if isinstance(content, dict) and list(content) == ["defaults"] and isinstance(content["defaults"], list):
        names = [name for name in content["defaults"] if name != "_self_"]
        if len(names) == 1 and isinstance(names[0], str):
            return Choice(name, other_name_of=names[0])
    return Choice(name, *_comment(text.splitlines()))


def _comment(lines: Sequence[str]) -> tuple[str, str]:
    first = next((line for line in lines if line.strip() and not line.startswith("# @package")), "")
    if not first.startswith("#"):
        return "", ""
    said = first.lstrip("# ").rstrip()
    with_source = re.fullmatch(r"(.*?)\s*\(([^()]+)\)\.?", said)
    return (with_source[1], with_source[2]) if with_source else (said, "")


def line(file: Path, names: Sequence[str]) -> int | None:
    """Return the line on which a config file has a key, given by its path of names; None where it hasn't."""
    try:
        node, found = yaml.compose(file.read_text(encoding="utf-8-sig")), None
    except UNREADABLE:
        return None
    for name in names:
        entries = node.value if isinstance(node, yaml.MappingNode) else []
        found, node = next(
            ((key.start_mark.line + 1, value) for key, value in entries if key.value == name), (found, None)
        )
    return found
