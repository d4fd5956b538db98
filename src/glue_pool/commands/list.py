"""List what there is to choose from, with its sources."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from glue_pool import choices
from glue_pool.choices import Choice, Group
from glue_pool.commands import Parser, path
from glue_pool.errors import UserError, nearest
from glue_pool.progress import say


def main(argv: Sequence[str]) -> None:
    """Print the groups, or the choices of one."""
    parser = Parser(prog="glue-pool list", description=__doc__)
    parser.add_argument("group", nargs="?", help="task, pooling, encoder, ...; the groups themselves unless given")
    parser.add_argument("--config-dir", "-cd", type=path, help="a folder of your own, as for train: pooling/mine.yaml")
    args = parser.parse_args(argv)
    groups = choices.groups(args.config_dir)
    if args.group is None:
        width = max(len(group.name) for group in groups)
        _print((f"{group.name:{width}} {_count(group):>3}", _about(group)) for group in groups)
        return
    for group in groups:
        if group.name == args.group:
            _print((choice.name, _text(choice)) for choice in group.choices())
            return
    names = [group.name for group in groups]
    raise UserError(f"{args.group}: no such group{nearest(args.group, names)} (there are {', '.join(names)})")


def _count(group: Group) -> int:
    if not group.sentence:  # what lies in a folder of one's own may be no choice at all: it is not read for this
        return len(group.files)
    return sum(not choice.other_name_of for choice in group.choices())


def _about(group: Group) -> str:
    default = f" ({group.default} unless given)" if group.default not in ("", "null") else ""
    return (group.sentence or f"a group of your own: +{group.name}=…") + default


def _text(choice: Choice) -> str:
    if choice.other_name_of:
        return f"another name of {choice.other_name_of}"
    return f"{choice.sentence} ({choice.source})" if choice.source else choice.sentence


def _print(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and texts in two columns that fit the terminal, or 80 characters."""
    pairs = list(rows)
    width = max(len(name) for name, _ in pairs) + 2
    for name, text in pairs:
        whole = text.replace("arXiv ", "arXiv\N{NO-BREAK SPACE}")
        lines = textwrap.wrap(whole, max(shutil.get_terminal_size((80, 24)).columns - width, 20)) or [""]
        for i, line in enumerate(lines):
            say(f"{'' if i else name:{width}}{line}".replace("\N{NO-BREAK SPACE}", " ").rstrip(), sys.stdout)
