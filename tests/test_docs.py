"""README and docs/: every command line in them composes, every link leads somewhere, examples of one's own run."""

import ast
import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import write_docs
from conftest import GLUE_POOL
from glue_pool import cli, commandline, results
from glue_pool.commands import Parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXTENDING, OWN_DATA = ROOT / "docs" / "extending.md", ROOT / "docs" / "own-data.md"
SMALL = (  # what the test adds to a page's own command lines, so that they take seconds
    "encoder.num_hidden_layers=2 train.max_steps=2 train.batch_size=8 data.train_rows=64 data.dev_rows=32 "
    "data.cache_dir=cache tracking=none"
)
TRAIN = (["glue-pool", "train"], ["glue-pool-train"], ["python", "-m", "glue_pool.train"])
PLACEHOLDERS = ("GLUE", "PATH", "FOLDER")  # folders that a reader has


def name(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


class Block(NamedTuple):
    """A fenced block: its language, its text, the heading that it is under and the file that it is to be."""

    language: str
    text: str
    section: str
    file: str | None


def blocks(page: Path) -> list[Block]:
    found, lines, section, before = [], iter(page.read_text().splitlines()), "", ""
    for line in lines:
        if line.startswith("```"):
            text = "\n".join(iter(lambda: next(lines), "```")) + "\n"
            named = re.search(r"`([^`]+)`:$", before)
            found.append(Block(line[3:], text, section, named[1] if named else None))
        elif line.startswith("#"):
            section = line.lstrip("# ")
        before = line or before
    return found


def prose(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def shell_lines(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks, continued ones joined, and the commands in its text."""
    for block in blocks(page):
        if block.language == "sh":
            yield from block.text.replace("\\\n", " ").splitlines()
    for span in re.findall(r"`([^`]+)`", " ".join(prose(page).split())):
        if "…" not in span and re.match(r"(PYTHONPATH=\S+ )?(glue-pool|python -m glue_pool|make) ", span):
            yield span


def commands(page: Path) -> list[list[str]]:
    """The command lines of a page as words, without what a shell takes out of them."""
    found = []
    for line in shell_lines(page):
        for command in line.split("&&"):
            words = shlex.split(command, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                found.append(words)
    return found


def train_arguments(words: list[str]) -> list[str] | None:
    """What a command line hands to `train`, if it does."""
    for begin in (*TRAIN, ["glue-pool", "prepare"]):
        if words[: len(begin)] == begin:
            return ["-m"] * (begin[-1] == "prepare") + words[len(begin) :]
    if words[:2] == ["make", "train"]:
        given = [word.removeprefix("ARGS=").split() for word in words[2:]]
        return ["experiment=offline", *(word for words in given for word in words)]
    return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader is: in a folder with the files that pages have, and with the data that pages speak of."""
    for block in [*blocks(EXTENDING), *blocks(OWN_DATA)]:
        if block.file:
            (tmp_path / block.file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.file).write_text(block.text)
    for name in PLACEHOLDERS:
        for task in ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "reviews"):
            (tmp_path / name / task).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@each_page
def test_every_command_line_for_train_composes(page: Path, folder: Path) -> None:
    for words in commands(page):
        if (arguments := train_arguments(words)) is not None:
            line = commandline.check(arguments)
            if any(word.startswith("hydra.launcher.") for word in arguments):  # which only a whole composition looks at
                assert commandline.configs(line), words


def test_there_are_command_lines_to_compose() -> None:
    having = {name(page) for page in PAGES if any(train_arguments(words) for words in commands(page))}
    assert having >= {
        "README",
        *(f"docs/{page}" for page in "sweeps slurm ray report speed probes runs extending own-data".split()),
    }
    assert having >= {"docs/reproduce", "docs/is-my-pooler-better", "docs/four-gpus-then-slurm"}


class Parsed(Exception):
    """A command's arguments were understood."""


@each_page
def test_every_command_exists_and_takes_its_arguments(
    page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parse in ("parse_args", "parse_intermixed_args"):

        def parsed(parser: Parser, argv: list[str], parse: str = parse) -> None:
            getattr(super(Parser, parser), parse)(argv)
            raise Parsed

        monkeypatch.setattr(Parser, parse, parsed)
    known = {**cli.names(), "best": ""}  # extending.md's own
    for words in commands(page):
        if words[0] != "glue-pool" or words[1] in ("--help", "--version") or train_arguments(words) is not None:
            continue
        assert words[1] in known, words
        if words[1] != "best" and "--help" not in words:
            with pytest.raises(Parsed):
                cli._load(words[1]).main(words[2:])


@each_page
def test_every_make_target_exists(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(page):
        if words[0] == "make":
            assert words[1] in targets


@each_page
def test_python_in_the_pages_is_python_and_its_runs_compose(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "glue_pool.run":
                    options = [f"--config-dir={ast.literal_eval(keyword.value)}" for keyword in node.keywords]
                    assert commandline.jobs([*options, *ast.literal_eval(node.args[0])])


@each_page
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """What GitHub calls a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = next(i for i in range(100) if (f"{slug}-{i}" if i else slug) not in found)
        found.add(f"{slug}-{again}" if again else slug)
    return found


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index


def test_the_readme_has_at_most_200_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_readmes_pooler_is_that_of_extending() -> None:
    there = {block.text for block in blocks(EXTENDING) if block.section == "A pooler" and block.file}
    here = [block for block in blocks(ROOT / "README.md") if block.section == "Your own pooler"]
    assert {block.text for block in here if block.language in ("python", "yaml")} == there


@each_page
def test_a_runs_folder_is_that_of_make_train(page: Path) -> None:
    (cfg,) = commandline.jobs(["experiment=offline", "output_root=outputs"])
    for folder in re.findall(r"outputs/[\w/]+/seed=\d+-\w+", page.read_text()):
        assert folder == results.find(cfg).path.as_posix()


def run_section(section: str, folder: Path, page: Path = EXTENDING, small: str = SMALL) -> str:
    """Run the shell blocks of a section as a reader would, and return what they print."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GLUE_POOL_", "PYTHON"))}
    environment |= {"PATH": f"{Path(GLUE_POOL).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    printed = ""
    for block in blocks(page):
        if block.section == section and block.language == "sh":
            lines = [f"{line} {small}" if "glue-pool train" in line else line for line in block.text.splitlines()]
            done = subprocess.run(
                ["bash", "-ec", "\n".join(lines)], cwd=folder, env=environment, capture_output=True, text=True,
                timeout=300,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            printed += done.stdout
    return printed


def finished(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in (folder / "outputs").rglob("result.json")]


@pytest.mark.parametrize(
    ("section", "method", "printed"),
    [
        ("A pooler", "last_two", "last_two         A weighted sum of the last two layers' [CLS]. (mine)"),
        ("A recipe", "mean+smoothing", ""),
        ("An edit", "mean+scaled", ""),
    ],
    ids=["a pooler", "a recipe", "an edit"],
)
def test_extending_by(section: str, method: str, printed: str, folder: Path) -> None:
    said = run_section(section, folder)
    (result,) = finished(folder)
    assert (result["status"], result["method"]) == ("completed", method)
    assert printed in said


def test_extending_by_a_command(folder: Path) -> None:
    for seed, score in enumerate((0.5, 0.75, None)):
        file = folder / "outputs" / "rte" / f"seed={seed}" / "result.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"task": "rte", "score": score, "method": "mean", "seed": seed}))
    said = run_section("A command", folder)
    assert "rte      0.7500 mean, seed 1\n" in said
    assert "  best          Print every task's best finished run.\n" in said


def test_every_block_of_extending_is_a_file_or_is_run() -> None:
    for block in blocks(EXTENDING):
        if block.language:
            assert block.language == "sh" or block.file
            assert not block.file or Path(block.file).suffix in (".py", ".yaml")


@pytest.mark.parametrize("page", write_docs.PAGES, ids=lambda page: page.stem)
def test_a_written_page_is_what_code_and_yaml_say(page: Path) -> None:
    assert page.read_text() == write_docs.PAGES[page](), "renew it: make docs"


def test_every_key_and_field_has_a_meaning() -> None:
    for name in ("schema", "result"):
        said = write_docs.attributes(ROOT / "src" / "glue_pool" / f"{name}.py")
        own = {cls: fields for cls, fields in said.items() if cls != "Config"}
        assert not [(cls, field) for cls, fields in own.items() for field, (_, text) in fields.items() if not text]


@pytest.mark.parametrize(
    ("source", "comment", "origin"),
    [
        ("arXiv 1902.00001", "", "faithful"),
        ("arXiv 2505.15696", "", "faithful in what is public"),
        ("common practice", "", "practice"),
        ("ours: an ablation", "", "ours"),
        ("after arXiv 1902.00001", "", "ours, after the source"),
        ("arXiv 1902.00001; on GLUE, ours", "", "ours, after the source"),
        ("arXiv 1902.00001", "always (ours) | evaluation", "ours, after the source"),
        ("arXiv 1902.00001", "never (ours) | evaluation", "faithful"),
    ],
)
def test_whether_a_method_is_faithful_follows_from_its_source(source: str, comment: str, origin: str) -> None:
    keys = [write_docs.Key("where", "always", comment)]
    assert write_docs.faithful(source, keys, {"2505.15696"}) == origin


def test_the_citation_file_has_what_the_format_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    (paper,) = citation["references"]
    assert {"type", "title", "authors"} <= set(paper)
    assert "2505.15696" in json.dumps(paper)


def test_the_changelog_has_a_dated_entry_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    dated = rf"^## \[{re.escape(project['version'])}\] - \d{{4}}-\d\d-\d\d$"
    assert re.search(dated, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
