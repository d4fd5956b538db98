"""What an installed glue-pool holds and asks for."""

import ast
import configparser
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def distribution(requirement: str) -> str:
    """The normalised name that a requirement or pin starts with."""
    match = re.match(r"[\w.-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a source tree's sdist or wheel with the installed hatchling: no network."""
    hatchling = [sys.executable, "-m", "hatchling", "build", "--target", kind]
    subprocess.run(
        [*hatchling, "--directory", str(out)],
        cwd=source,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel built from the sdist built from the checkout."""
    folder = tmp_path_factory.mktemp("packaging")
    with tarfile.open(build("sdist", ROOT, folder / "sdist")) as sdist:
        sdist.extractall(folder / "source")
    (source,) = (folder / "source").iterdir()
    return zipfile.ZipFile(build("wheel", source, folder / "wheel"))


def test_the_wheel_holds_every_file_of_the_package_and_the_config(wheel: zipfile.ZipFile) -> None:
    files = (path for path in (ROOT / "src").rglob("*.*") if path.is_file() and path.suffix != ".pyc")
    package = {path.relative_to(ROOT / "src").as_posix() for path in files}
    assert {"glue_pool/py.typed", "glue_pool/report/published.yaml", "glue_pool/train.py"} <= package
    assert {"glue_pool/commands/sync.py", "glue_pool/on_wandb/sweeps/grid.yaml"} <= package
    conf = {f"glue_pool/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert "glue_pool/conf/config.yaml" in conf
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == package | conf


def test_wheel_declares_the_console_scripts(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(entry_points).decode())
    scripts = {"glue-pool": "glue_pool.cli:main", "glue-pool-train": "glue_pool.train:main"}
    assert dict(parser["console_scripts"]) == scripts


def test_every_import_is_a_declared_dependency() -> None:
    imported = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    imported -= sys.stdlib_module_names | {"glue_pool"}
    providers = importlib.metadata.packages_distributions()
    needed = {distribution(providers[module][0]) for module in imported}
    not_imported = {"sentencepiece", "plotly"}  # DeBERTa-v3's tokenizer; the report takes Plotly's script
    extras = PROJECT["optional-dependencies"]
    asked_for = {distribution(requirement) for name in ("dashboard", "export") for requirement in extras[name]}
    by_others = {"onnx", "onnxscript"}  # torch's exporter imports both
    declared = {distribution(requirement) for requirement in PROJECT["dependencies"]}
    assert needed | not_imported | by_others == declared | asked_for  # the commands of the two extras ask for theirs


def test_constraints_pin_every_declared_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = [requirement for requirements in lists for requirement in requirements]
    assert {distribution(r) for r in declared} <= {distribution(pin) for pin in pins}
