"""Write the pages that follow from code and YAML: docs/methods.md and docs/reference.md.

python scripts/write_docs.py

Meanings are the docstrings behind the fields of schema.py, tasks.py and result.py and the comments of conf/; nothing is
imported to read them. tests/test_docs.py fails where a page is not what this writes.
"""

import ast
import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from glue_pool import choices, components, keys, metrics
from glue_pool.choices import Choice, Group
from glue_pool.metrics import Metric
from glue_pool.schema import Config
from glue_pool.train import CONF  # importing it tells Hydra of the schema

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
RENEW = "<!-- Written by scripts/write_docs.py: `make docs` renews it. -->"
COMPONENTS = ("pooling", "edit", "recipe")

METHODS = f"""\
{RENEW}

# Methods

Every way to pool, every edit and every recipe that comes with glue-pool. `glue-pool list pooling` prints the first
column's names with the sentences; [extending.md](extending.md) adds one of your own; their keys are in
[reference.md](reference.md#keys-of-poolers-edits-and-recipes).

Notation: H^l is the output of layer l, l = 1..L (the embedding output is no layer), c_l its [CLS] vector, m the
attention mask, d the hidden size; [encoders.md](encoders.md) says where [CLS] is. MHA is multi-head attention.

What of MaxPoolBERT is public: the variants, k = 3, 4 heads and an average gain of about 1.25 points. Learning rate,
epochs, whether there is a residual, and the table by task could not be read: those defaults are ours, not the paper's.

The last column follows from the source, which the first comment of the YAML names in parentheses, by this rule:

- **ours**: the source begins with "ours".
- **ours, after the source**: the source begins with "after", or says "ours" further on, or the comment of a key calls
  its default ours.
- **practice**: the source is a practice and no paper.
- **faithful in what is public**: the docstring of a class with the same paper says that something of it is not public.
- **faithful**: any other. It does what the source says.

"Faithful" speaks of the definition, not of anybody's scores: none of the papers' numbers was reproduced here.
"""

REFERENCE = f"""\
{RENEW}

# Reference

- [Config keys](#config-keys)
- [Keys of the launchers](#keys-of-the-launchers)
- [Keys of poolers, edits and recipes](#keys-of-poolers-edits-and-recipes)
- [Groups and choices](#groups-and-choices)
- [Metrics](#metrics)
- [Fields of a result](#fields-of-a-result)

## Config keys

Every key is `key=value` on the command line. A wrong type, a value out of range or a misspelt key stops before
anything is read. `null` stands for "none". Defaults are those of `glue-pool train` without any argument;
`${{oc.env:NAME,x}}` is the environment variable NAME, or x.

*In the key* says whether the value is in the run's key, the hash that names the run's folder: two runs that differ in
it are two runs. "unless x": it is left out while it is x. Rows and encoder are always in it, whatever they are called:
files of yours by their content, the hub's by name and revision, generated rows by their sizes and seed.
"""

METRICS = """
## Metrics

Of `task.metrics` and `task.primary_metric`. Points are a fraction times 100, and are what averages over tasks are of.

"""
KINDS = {metrics.SINGLE: "one label a row", metrics.MULTI: "any number of labels", metrics.REGRESSION: "scores"}


class Key(NamedTuple):
    """A key of a YAML file: its value as written, and the comment behind or above it."""

    name: str
    value: str
    comment: str


def attributes(file: Path) -> dict[str, dict[str, tuple[str, str]]]:
    """Return by class and attribute the annotation and the docstring behind it, in the file's order."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            said = found.setdefault(node.name, {})
            for line, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    said[line.target.id] = (ast.unparse(line.annotation), _string(after))
    return found


def yaml_keys(file: Path) -> list[Key]:
    """Return the keys at the top of a YAML file, with their comments."""
    found, above = [], ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"(\w+): (.*?)(?:\s+# (.*))?", line):
            found.append(Key(match[1], match[2], match[3] or above))
        above = line.removeprefix("# ") if line.startswith("# ") else ""
    return found


def methods() -> str:
    """Return docs/methods.md."""
    groups = {group.name: group for group in choices.groups()}
    page = METHODS
    private = {paper for group in COMPONENTS for paper in _not_public(groups[group])}
    for name, title in zip(COMPONENTS, ("Poolers", "Edits", "Recipes"), strict=True):
        group = groups[name]
        own = [choice for choice in group.choices() if not choice.other_name_of]
        rows, said = [], dict[str, list[str]]()
        for choice in own:
            origin = faithful(choice.source, yaml_keys(group.files[choice.name]), private)
            rows.append((f"`{choice.name}`", choice.sentence, _linked(choice.source), origin))
            said.setdefault(components.docstring(_target(group.files[choice.name])), []).append(f"`{choice.name}`")
        page += f"\n## {title}\n\n{_sentence(group)}\n\n" + _table(
            ("name", "what it does", "source", "faithful or ours"), rows
        )
        others = [choice for choice in group.choices() if choice.other_name_of]
        page += "".join(f"\n`{choice.name}` is another name of `{choice.other_name_of}`.\n" for choice in others)
        page += "\nWhat their classes say:\n\n"
        page += "".join(f"- {', '.join(names)}: {_cell(_whole(text))}\n" for text, names in said.items())
    return page


def faithful(source: str, keys: Sequence[Key], not_public: Iterable[str]) -> str:
    """Say whether a choice follows its source, by the rule that methods.md states.

    keys: of its YAML. not_public: the papers of which a docstring says that not everything is public.
    """
    if source.startswith("ours"):
        return "ours"
    by_default = any(f"{key.value} (ours)" in key.comment for key in keys)
    if source.startswith("after ") or re.search(r"\bours\b", source) or by_default:
        return "ours, after the source"
    if source.endswith("practice"):
        return "practice"
    return "faithful in what is public" if set(_papers(source)) & set(not_public) else "faithful"


def reference() -> str:
    """Return docs/reference.md."""
    groups = {group.name: group for group in choices.groups()}
    page = REFERENCE + _config_keys()
    page += "\n## Keys of the launchers\n\n`hydra/launcher=` chooses one; its keys begin with `hydra.launcher.`.\n"
    for name, file in sorted(groups["hydra/launcher"].files.items()):
        rows = [(f"`{key.name}`", f"`{key.value}`", key.comment) for key in yaml_keys(file) if key.name != "_target_"]
        page += f"\n### {name}\n\n{choices.read(file).sentence}.\n\n" + _table(("key", "default", "meaning"), rows)
    page += "\n## Keys of poolers, edits and recipes\n\nBeside `name` and `_target_`, the class; all are in the key.\n"
    page += (
        "Every pooler has `pooling.tanh` (`none`, `pretrained`: the encoder's own, or `new`): an affine map and tanh\n"
    )
    page += "after it.\n\n"
    page += _table(("of", "key", "default", "meaning"), [row for name in COMPONENTS for row in _own_keys(groups[name])])
    page += (
        "\n## Groups and choices\n\n`glue-pool list` prints the groups, `glue-pool list GROUP` the choices of one.\n"
    )
    for group in groups.values():
        page += f"\n### `{group.name}`\n\n{_sentence(group)}\n\n"
        page += _table(("choice", "what it is", "source"), map(_choice, group.choices()))
    page += METRICS + _table(
        ("metric", "what it is", "for", "takes", "unit", "better"), map(_metric, metrics.METRICS.values())
    )
    page += (
        "\n## Fields of a result\n\n`result.json`, and what `glue_pool.run` returns. A failed run has no numbers: what"
    )
    page += "\na completed one alone has is null or empty there. A metric that is not a number is null.\n"
    said = attributes(SOURCE / "glue_pool" / "result.py")
    for name in ("Result", *(name for name in said if name != "Result")):
        rows = [(f"`{field}`", f"`{of}`", text) for field, (of, text) in said[name].items()]
        page += f"\n### {name}\n\n" + _table(("field", "type", "meaning"), rows)
    return page + "\n`Metrics` is `dict[str, dict[str, float]]`: by split and metric.\n"


def _sections(name: str, section: Any) -> Iterator[tuple[str, Any]]:
    """Yield a section of the config and those in it, with their names, as task.source."""
    yield name, section
    for field in dataclasses.fields(section):
        if dataclasses.is_dataclass(field.type):
            yield from _sections(f"{name}.{field.name}".lstrip("."), field.type)


def _config_keys() -> str:
    said = attributes(SOURCE / "glue_pool" / "schema.py") | attributes(SOURCE / "glue_pool" / "tasks.py")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose("config"), resolve=False)
    page, unkeyed = "", set(keys.unkeyed())
    for name, section in _sections("", Config):
        values = functools.reduce(lambda of, part: of[part], name.split(".") if name else [], composed)
        rows = []
        for field in dataclasses.fields(section):
            if dataclasses.is_dataclass(field.type):
                continue
            full = f"{name}.{field.name}" if name else field.name
            of, text = said[section.__name__][field.name]
            default = _default(values[field.name])
            rows.append((f"`{full}`", f"`{of}`", default, _range(field.metadata), text, _in_key(full, field, unkeyed)))
        about = (section.__doc__ or "").strip() if name else "Keys of a run that are in no section."
        page += f"\n### {f'`{name}`' if name else 'A run'}\n\n{about}\n\n"
        page += _table(("key", "type", "default", "range", "meaning", "in the key"), rows)
    return page


def _own_keys(group: Group) -> Iterable[tuple[str, str, str, str]]:
    for name, file in sorted(group.files.items()):
        for key in yaml_keys(file):
            if key.name not in ("name", "_target_", "tanh"):
                yield f"`{group.name}={name}`", f"`{group.name}.{key.name}`", f"`{key.value}`", key.comment


def _default(value: Any) -> str:
    if isinstance(value, Mapping) and "_target_" in value:
        return f"`{value['name']}`, a choice"
    written = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return f"`{written.removesuffix(chr(10)).removesuffix('...').strip()}`"


def _range(metadata: Mapping[str, Any]) -> str:
    if "choices" in metadata:
        return ", ".join(f"`{choice}`" for choice in metadata["choices"])
    words = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}
    return ", ".join(f"{word} {metadata[kind]:g}" for kind, word in words.items() if kind in metadata)


def _in_key(name: str, field: "dataclasses.Field[Any]", unkeyed: Iterable[str]) -> str:
    if name in unkeyed:
        return "no"
    neutral = field.metadata.get("neutral")
    return "yes" if neutral is None else f"unless {_default(neutral).removesuffix(', a choice')}"


def _whole(text: str) -> str:
    """Return a docstring without what only a subclass's author needs: from the paragraph that introduces the hooks."""
    return text.partition(" In the order in which they are called")[0].partition("\n\n`config` is called")[0]


def _choice(choice: Choice) -> tuple[str, str, str]:
    what = f"another name of `{choice.other_name_of}`" if choice.other_name_of else choice.sentence
    return f"`{choice.name}`", what, _linked(choice.source)


def _metric(metric: Metric) -> Sequence[str]:
    kinds = {**KINDS, metrics.SINGLE: "two labels"} if metric.two_classes else KINDS
    fits = ", ".join(said for kind, said in kinds.items() if kind in metric.fits)
    return (
        f"`{metric.name}`",
        metric.title,
        fits,
        metric.takes,
        metric.unit,
        "higher" if metric.higher_is_better else "lower",
    )


def _sentence(group: Group) -> str:
    default = f" `{group.default}` unless given." if group.default not in ("", "null") else ""
    return f"{group.sentence[:1].upper()}{group.sentence[1:]}.{default}"


def _target(file: Path) -> str:
    return str(yaml.safe_load(file.read_text(encoding="utf-8"))["_target_"])


def _not_public(group: Group) -> set[str]:
    """Return the papers of which a class's docstring says that something is not public."""
    found: set[str] = set()
    for choice in group.choices():
        if not choice.other_name_of and "not public" in components.docstring(_target(group.files[choice.name])):
            found |= set(_papers(choice.source))
    return found


def _papers(source: str) -> list[str]:
    return re.findall(r"arXiv (\d{4}\.\d{4,5})", source)


def _linked(source: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    """Keep outside code spans what Markdown would take for its own."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


PAGES = {ROOT / "docs" / "methods.md": methods, ROOT / "docs" / "reference.md": reference}


def main() -> None:
    """Write the pages."""
    for file, page in PAGES.items():
        file.write_text(page(), encoding="utf-8")
        print(f"written: {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
