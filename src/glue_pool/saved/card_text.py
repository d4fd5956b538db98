"""A model card's words, in Markdown. Whatever a user named himself stands in code spans, or is escaped."""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import yaml

from glue_pool import choices, components
from glue_pool.choices import CONF, Choice
from glue_pool.metrics import METRICS
from glue_pool.report import earlier
from glue_pool.saved.card_facts import PACKAGED_FROM, Facts
from glue_pool.schema import NO_EDIT, PLAIN
from glue_pool.stats.summary import summarise

NAMED = 20  # labels or seeds that are listed
PARTS = {"pooling": "Pooler", "edit": "Edit of the encoder", "recipe": "Recipe"}


def text(facts: Facts) -> str:
    """Return the card below its metadata."""
    sections = {
        "Use": _use(facts),
        "Score": _score(facts),
        "Method": _method(facts),
        "Training": _training(facts),
        "Limits": _limits(facts),
        "Licences": _licences(facts),
    }
    head = f"# {_prose(facts.title)}: {_code(facts.result['method'])} on {_code(facts.result['encoder'])}\n"
    return f"{head}\n{_what(facts)}\n" + "".join(f"\n## {name}\n\n{body}\n" for name, body in sections.items())


def _what(facts: Facts) -> str:
    labels, columns = facts.task["labels"], _list(facts.task["columns"])
    how = "trained on top of the frozen" if facts.result["kind"] == "probe" else "fine-tuned from"
    kind = "text classifier" if labels else "model that scores texts"
    rows = "rows generated in the shape of" if facts.source == "synthetic" else "the task"
    if not labels:
        says = "a number"
    else:
        choice = "any number of" if facts.task.get("multi_label") else "one of"
        says = f"{choice} {len(labels)} labels" + (f": {_list(labels)}" if len(labels) <= NAMED else "")
    given = f"the pair {columns}" if len(facts.task["columns"]) == 2 else columns
    return (
        f"A {kind}, {how} {_encoder(facts)} on {rows} {_prose(facts.title)}{_asks(facts)} with "
        f"glue_pool.\nGiven {given} it says {says}; {_code(facts.result['pooling'])} makes one vector of the encoder's "
        "hidden states."
    )


def _asks(facts: Facts) -> str:
    """Say what a task that comes with glue_pool is about."""
    file = CONF / "task" / f"{facts.task['name']}.yaml"
    if facts.data_set is None or earlier.shipped(facts.task["name"]).get("source", {}).get("path") != facts.data_set:
        return ""
    said = choices.read(file)
    return f" ({_prose(said.sentence)} {_papers(said.source)})"


def _use(facts: Facts) -> str:
    given = '{"text": "…", "text_pair": "…"}' if len(facts.task["columns"]) == 2 else '"…"'
    of_own = any(not target.startswith(components.PACKAGE) for target in facts.targets.values())
    lines = [
        "With this folder as `FOLDER`, and the package glue_pool installed:",
        "",
        "```python",
        "import glue_pool  # which tells transformers of its models",
        "from transformers import pipeline",
        "",
        'classify = pipeline("text-classification", model="FOLDER")',
        f"classify({given}, truncation=True{', top_k=None' if facts.task.get('multi_label') else ''})",
        "```",
        "",
        "or, for a file with the columns of the task,",
        "",
        "```sh",
        "glue-pool predict FOLDER rows.csv --output predictions.csv",
        "```",
    ]
    if of_own:
        said = "A class of the author's own is part of it (below) and does not lie in this folder:"
        lines += ["", f'{said} `glue_pool.load("FOLDER", classes=[…])` takes it.']
    return "\n".join(lines)


def _score(facts: Facts) -> str:
    result, split = facts.result, _code(facts.dev_split)
    name = METRICS[result["primary_metric"]].title
    lines = [
        f"- {_code(of)}: {METRICS[metric].title} {_number(value)}"
        for of, metrics in result["metrics"].items()
        for metric, value in metrics.items()
    ]
    score = (
        f"The score is the {name} on {split}, **{_number(result['score'])}**. It is that of seed {result['seed']} "
        "after the last epoch, not of the epoch that was the best."
    )
    scale = (
        "Values are fractions where they can be: 0.9 is 90 %." if METRICS[result["primary_metric"]].scale > 1 else ""
    )
    return "\n".join([*lines, "", f"{score} {scale}".strip(), "", _seeds(facts), "", _rows(facts)])


def _seeds(facts: Facts) -> str:
    seeds = facts.seeds
    if len(seeds) == 1:
        return "No other seed of the same settings lies beside it, so the spread over seeds is not known."
    found = summarise(np.array([run.score for run in seeds]), [bool(run.result["collapsed"]) for run in seeds])
    metric = METRICS[facts.result["primary_metric"]]
    which = f" ({', '.join(str(run.result['seed']) for run in seeds)})" if len(seeds) <= NAMED else ""
    said = f"Over {len(seeds)} seeds of the same settings{which} the {metric.title} is "
    if found.n > 1:
        said += f"{found.mean:.4f} on average, with a standard deviation of {found.std:.4f}"
    else:
        said += "not a number for all, or all but one"
    if found.failed and found.n > 1:
        said += f" over the {found.n} that have one"
    if found.collapsed:
        said += f"; {found.collapsed} of the seeds collapsed"
    return (
        f"{said}. This model is that of seed {facts.result['seed']}, whatever its place among them, which is not told "
        "here: quote the mean, for the best of several seeds flatters."
    )


def _rows(facts: Facts) -> str:
    facts_of = facts.result["splits"][facts.dev_split]
    if facts.source == "synthetic":
        return (
            f"**The rows are generated**, {facts_of['rows']:,} of them on {_code(facts.dev_split)}: the score says "
            f"nothing of {_prose(facts.title)}."
        )
    of_which = f"{_code(facts.dev_split)} has {facts_of['rows']:,} rows, from {facts.origin}"
    if facts_of["official"]:
        return f"{of_which}: as many as the data set's own split."
    if facts.task.get("dev_share") is not None:
        return f"{of_which}: a share of the train split that was drawn, and not trained on. That is no official split."
    if facts.dev_split in facts.task.get("official_rows", {}):
        return f"{of_which}. These are not the data set's official dev rows: this is no official score."
    return f"{of_which}; the task knows of no official split of that name."


def _method(facts: Facts) -> str:
    lines = []
    for section, title in PARTS.items():
        target = facts.targets.get(section, PLAIN)
        if target in (PLAIN, NO_EDIT):
            continue
        content = facts.config[section]
        name = content["name"]
        if target.startswith(components.PACKAGE):
            choice = _shipped(section).get((name, components.class_name(target)), Choice(name))
            source = f" ({_papers(choice.source)})" if choice.source else ""
            sentence = f"{_own_words(choice.sentence.rstrip('.'))}{source}." if choice.sentence else ""
            said = f"{sentence} {_paragraph(target)}".strip()
        else:
            said = f"a class of the author's own, {_code(target)}."
        lines.append(f"- {title} {_code(name)}: {said}")
        given = {key: value for key, value in content.items() if key not in ("name", "_target_", "tanh")}
        if given:
            lines[-1] += (
                " Its keys: " + ", ".join(_code(f"{key}={_value(value)}") for key, value in given.items()) + "."
            )
    tanh = {"none": "", "new": "a new affine map and tanh", "pretrained": "the encoder's own pre-trained tanh layer"}
    after = tanh.get(facts.config["pooling"].get("tanh"), "")
    dropout = facts.config["model"]["dropout"]
    lines.append(f"- After it: {after + ', then ' if after else ''}dropout {dropout:g} and a linear layer.")
    return "\n".join(lines)


def _training(facts: Facts) -> str:
    config, made, result = facts.config, facts.manifest, facts.result
    train, optimizer, encoder = config["train"], config["optimizer"], config["encoder"]
    size, timing = result["subset"]["size"], result["timing"]
    steps = f", {timing['train_steps']:,} steps" if timing else ""
    epochs = "" if train["max_steps"] is not None else f"{train['epochs']} epochs, "
    revision = f" at {_code(encoder['revision'])}" if encoder.get("revision") else ""
    layers = f", the lowest {encoder['num_hidden_layers']} layers alone" if encoder["num_hidden_layers"] else ""
    frozen = ", frozen" if encoder["freeze"] else ""
    which = "all" if size is None else f"a stratified subset of {size:,}, drawn with seed {result['subset']['seed']}"
    device = made["hardware"]
    chip = (device["gpu"] if device["device"] == "cuda" else device["cpu"]) or "not known"
    versions = ", ".join(
        f"{name} {_prose(str(made['versions'][name]))}"
        for name in ("python", "glue-pool", "torch", "transformers")
        if name in made["versions"]
    )
    lines = [
        f"Encoder: {_encoder(facts)}{revision}{layers}{frozen}",
        f"Rows: {result['train_rows'] or 0:,} ({which}), from {facts.origin}",
        f"Seed: {result['seed']}",
        f"Run: {_code(result['run_key'][:8])}",
        f"Learning rate: {optimizer['lr']:g}, {_prose(optimizer['schedule'])}, warm-up "
        f"{optimizer['warmup_ratio']:g} of the steps, weight decay {optimizer['weight_decay']:g}",
        f"Length: {epochs}{train['batch_size']} rows a batch{steps}",
        f"Tokens a row: {train['max_length']} at most",
        f"Precision: {_prose(str(made['precision']))}",
        f"Hardware: {_prose(str(device['device']))}, {_prose(' '.join(str(chip).split()))}",
        f"Versions: {versions}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _limits(facts: Facts) -> str:
    result, length = facts.result, facts.config["train"]["max_length"]
    language = facts.task.get("language")
    spoken = {"en": "Its texts were English."}.get(
        str(language), f"Its texts' language: {_code(language)}." if language else ""
    )
    lines = [
        "The score is on a dev split. Who chose a method, a learning rate or a seed by that split has a score that is "
        "too high, and nothing here tells who did.",
        f"It was trained on {result['train_rows'] or 0:,} rows, and is not tried on texts of other kinds.",
        f"Texts of more than {length} tokens are cut off{_cut(facts)}.",
        spoken or "The language of its texts is not stated.",
        "It is no submission to a benchmark: no test split was scored.",
    ]
    if result["collapsed"]:
        lines.insert(0, f"**It collapsed**: every prediction on {_code(facts.dev_split)} is the same.")
    if facts.source == "synthetic":
        lines.insert(0, "**It was trained on generated rows**, and is of no use but to try the tools.")
    return "\n".join(f"- {line}" for line in lines)


def _cut(facts: Facts) -> str:
    """Say how many of the dev rows were cut off."""
    tokens = facts.manifest["data"].get("tokens", {}).get(facts.dev_split)
    if not tokens:
        return ""
    return f" ({tokens['truncated']:,} of the {tokens['rows']:,} rows of {_code(facts.dev_split)})"


def _licences(facts: Facts) -> str:
    encoder, data = facts.encoder_licence, facts.data_licence
    of_encoder = _code(encoder) if encoder else "not stated here"
    of_data = "none needed, they are generated" if facts.source == "synthetic" else "not stated here"
    of_data = _code(data) if data else of_data
    lines = [f"- Encoder, {_code(facts.result['encoder'])}: {of_encoder}", f"- Rows, {_data_set(facts)}: {of_data}"]
    if "other" in (encoder, data):
        lines.append(
            "- `other` is what the Hub calls terms of one's own: they stand on the data set's or encoder's page."
        )
    return "\n".join(lines)


def _encoder(facts: Facts) -> str:
    short = facts.result["encoder"]
    if facts.encoder is None:
        return _code(short)
    link = f"[{_prose(facts.encoder)}](https://huggingface.co/{facts.encoder})"
    return f"{link} (packaged as {_code(short)})" if facts.config["encoder"]["name"] in PACKAGED_FROM else link


def _data_set(facts: Facts) -> str:
    if facts.data_set is None:
        return f"{_prose(facts.title)}, from {facts.origin}"
    return f"{_prose(facts.title)} of [{_prose(facts.data_set)}](https://huggingface.co/datasets/{facts.data_set})"


@cache
def _shipped(section: str) -> dict[tuple[str, str], Choice]:
    """Return what the package's own choices say of themselves, by name and class."""
    found = {}
    for file in (CONF / section).glob("*.yaml"):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if "_target_" in content:
            found[content["name"], components.class_name(content["_target_"])] = choices.read(file)
    return found


def _paragraph(target: str) -> str:
    """Return the first paragraph of what a class of the package says of itself."""
    return _papers(" ".join(components.docstring(target).partition("\n\n")[0].split()))


def _papers(said: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", _own_words(said))


def _own_words(said: str) -> str:
    """Return words of the package as Markdown: code spans stay."""
    return "".join(part if part.startswith("`") else _prose(part) for part in re.split(r"(`[^`]*`)", said))


def _prose(said: str) -> str:
    """Return a text as it is to be read: nothing in it is Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&!])", r"\\\1", said)


def _code(said: str) -> str:
    """Return a text as a code span, whatever backticks are in it."""
    ticks = "`" * (max(map(len, re.findall("`+", said)), default=0) + 1)
    pad = " " if said.startswith("`") or said.endswith("`") or not said.strip() else ""
    return f"{ticks}{pad}{said}{pad}{ticks}"


def _list(names: Sequence[str]) -> str:
    *first, last = map(_code, map(str, names))
    return f"{', '.join(first)} and {last}" if first else last


def _value(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4f}"
