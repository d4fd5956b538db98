"""`glue-pool`: its commands, its help, and how it ends."""

import ast
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

import glue_pool
from conftest import GLUE_POOL
from glue_pool import choices, cli
from glue_pool.errors import Failed, Held, Interrupted, NotWritten, TrainingFailed, UserError
from run_folders import Drawn
from test_train import TINY

ROOT = Path(__file__).parents[1]
Printed = pytest.CaptureFixture[str]


def glue_pool_says(*arguments: str, code: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """What the installed script prints, on stderr where it ends with an error."""
    done = subprocess.run(
        [GLUE_POOL, *arguments], env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    if code:
        assert done.stdout == ""
        return done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_help_says_what_each_command_does_and_fits_80_columns() -> None:
    page = glue_pool_says("--help")
    assert glue_pool_says() == page
    assert set(cli.names()) >= {"train", "prepare", "report", "sync", "dashboard", "list"}
    for name, module in cli.names().items():
        assert f"  {name} " in page
        assert cli.sentence(module).endswith(".")
    assert page.count("  glue-pool ") >= 4  # examples
    assert "outputs/" in page
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("name", cli.names())
def test_every_command_explains_itself(name: str) -> None:
    assert len(glue_pool_says(name, "--help").splitlines()) > 5


@pytest.mark.parametrize("line", [["--help"], ["--version"], ["list"], ["report", "--help"], ["sync", "--help"]])
def test_what_runs_nothing_starts_without_hydra_and_torch(line: list[str]) -> None:
    code = (
        "import sys; from glue_pool import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*({'hydra', 'omegaconf', 'torch', 'wandb', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


def test_the_version_is_this_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert glue_pool_says("--version") == f"glue-pool {version}\n"
    assert glue_pool_says("train", "--version").startswith(f"glue-pool {version} (Hydra ")
    assert glue_pool.__version__ == version


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "error: trian: no such command; did you mean 'train'? (there are card, "),
        (["list", "poling"], "error: poling: no such group; did you mean 'pooling'? (there are data, "),
        (["list", "a", "b"], "error: unrecognized arguments: b; glue-pool list --help tells more"),
        (["list", "--config-dir", "/nowhere"], "error: --config-dir /nowhere: there is no such folder"),
        (["report", "/nowhere"], "error: /nowhere: there is no such folder"),
        (["report", "--taks", "rte"], "error: unrecognized arguments: --taks; glue-pool report --help tells more"),
        (["sync", "/nowhere"], "error: /nowhere: there is no such folder"),
        (["dashboard"], "error: the following arguments are required: --entity; glue-pool dashboard --help tells"),
        (["train", "tsak=rte"], "error: tsak: no such key; did you mean 'task'?"),
        (["train", "-m", "--cfg", "job"], "error: Only one of --run, --multirun, --cfg, "),
        (["train", "-m", "hydra.launcher.wokers=2"], "error: hydra.launcher.wokers: no such key; did you mean 'wor"),
        (["train", "-m", "seed=interval(1,3)"], "error: seed=interval(1,3): a grid takes single values, as 1,2,3 or"),
        (["train", "--experimental-rerun=a"], "error: --experimental-rerun: it would read a pickle"),
        (["prepare", "task=rte,rtee"], "error: task=rtee: no such task; did you mean 'rte'?"),
        (["prepare", "--info"], "error: help and configs are shown by glue-pool train"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name_and_exit_code_2(arguments: list[str], said: str) -> None:
    printed = glue_pool_says(*arguments, code=2)
    assert printed.startswith(said)
    assert printed.count("\n") == 1


def test_a_file_in_a_folder_of_ones_own_is_a_command(tmp_path: Path) -> None:
    (tmp_path / "glue_pool_commands").mkdir()
    hello, train = (tmp_path / "glue_pool_commands" / f"{name}.py" for name in ("say_hello", "train"))
    text = '"""{}"""\n\n\ndef main(argv):\n    print("hello", *argv)\n'
    hello.write_text(text.format("Say hello."))
    train.write_text(text.format("Not this one."))
    (tmp_path / "glue_pool_commands" / "_shared.py").write_text("raise SystemExit('nobody is to import this')")
    own = {"PYTHONPATH": str(tmp_path)}
    (tmp_path / "glue_pool_commands" / "broken.py").write_text("def main(:")
    (tmp_path / "glue_pool_commands" / "empty.py").write_text("")
    page = glue_pool_says("--help", environment=own)
    assert "  broken        (its file can't be read)\n" in page
    assert "  empty         (its file says nothing of it)\n" in page
    said = glue_pool_says("empty", code=2, environment=own)
    assert said == "error: empty: glue_pool_commands.empty has no main(argv)\n"
    assert "  say-hello     Say hello.\n" in page
    assert "Not this one." not in page  # the package's own stay
    assert "shared" not in page
    assert glue_pool_says("say-hello", "you", environment=own) == "hello you\n"
    assert "did you mean 'say-hello'?" in glue_pool_says("say-helo", code=2, environment=own)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no such key"), 2, "error: no such key\n"),
        (TrainingFailed("nan at step 2"), 1, "error: nan at step 2\n"),
        (NotWritten("full"), 1, "error: full\n"),
        (Failed(), 1, ""),
        (Held("process 7 works on it"), 75, "error: process 7 works on it\n"),
        (Interrupted(signal.SIGTERM, "stopped at step 3"), 143, "stopped at step 3\n"),
        (Interrupted(signal.SIGUSR2, "stopped"), 140, "stopped\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_the_guard_knows_the_exit_codes(error: BaseException, code: int, said: str, capsys: Printed) -> None:
    with pytest.raises(SystemExit) as ended, cli.guarded():
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err == said


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), cli.guarded():
        _ = 1 / 0
    with pytest.raises(BrokenPipeError), cli.guarded():  # of another pipe: somebody reads stdout
        raise BrokenPipeError


def test_nothing_else_in_the_package_knows_an_exit_code() -> None:
    files = [file for file in (ROOT / "src").rglob("*.py") if "sys.exit" in file.read_text()]
    assert files == [ROOT / "src/glue_pool/cli.py"]


@pytest.mark.parametrize("line", ["--help", "train --help", "train --cfg job", "list pooling", "list", "report"])
def test_a_pipe_that_nobody_reads_is_no_reason_to_complain(line: str, tmp_path: Path) -> None:
    Drawn(("task=rte", "pooling=mean")).write(tmp_path)
    environment = os.environ | {"GLUE_POOL_OUTPUTS": str(tmp_path)}
    command = [GLUE_POOL, *line.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("word", ["--help", "list"])
def test_output_that_cannot_be_written_is_said(word: str) -> None:
    with open("/dev/full", "w") as full:
        environment = os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run([GLUE_POOL, word], stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: not all that was printed could be written (No space left on device)\n"


@pytest.mark.parametrize("name", ["HOME", "GLUE_POOL_OUTPUTS", "HF_HOME", "XDG_CACHE_HOME", "WANDB_BASE_URL"])
def test_an_empty_variable_is_one_that_is_not_set(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    monkeypatch.setenv(name, "")
    cli.main(["--version"])
    assert name not in os.environ


def test_a_working_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit):
        cli.main(["list"])
    assert "the working directory can't be used (No such file or directory); cd to another" in capsys.readouterr().err


def test_an_argument_may_begin_with_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Drawn(("task=rte", "pooling=mean")).write(tmp_path / "$HOME")
    cli.main(["report", "~/$HOME", "--output=~/page"])
    assert (tmp_path / "page/scores.csv").is_file()
    assert not (tmp_path / "$HOME/report").exists()
    with pytest.raises(SystemExit):
        cli.main(["report", "~nobody.here/runs"])
    assert "error: ~nobody.here/runs: no home folder is known of a user nobody.here" in capsys.readouterr().err
    (tmp_path / "link").symlink_to("gone")
    for command in ("report", "sync"):
        with pytest.raises(SystemExit):
            cli.main([command, "~/link"])
        assert f"{tmp_path}/link is a link to gone, which is not there" in capsys.readouterr().err


def test_a_locale_without_utf_8_changes_no_file(tmp_path: Path, capsys: Printed) -> None:
    runs = tmp_path / "ä"
    Drawn(("task=rte", "task.title='Fälle'", "pooling=mean")).write(runs)
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    glue_pool_says("report", str(runs), f"--output={tmp_path}/there", environment=locale)
    cli.main(["report", str(runs), f"--output={tmp_path}/here"])
    there, here = ((tmp_path / name / "tables.tex").read_text(encoding="utf-8") for name in ("there", "here"))
    assert there == here
    assert 'F\\"{a}lle' in there
    assert "\\udcc3\\udca4: there" in glue_pool_says("sync", f"{tmp_path}/no/ä", code=2, environment=locale)


def test_every_text_file_and_pipe_says_its_encoding() -> None:
    """Else it is the locale's."""
    silent = []
    for file in [file for folder in ("src", "scripts") for file in (ROOT / folder).rglob("*.py")]:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            said = {keyword.arg for keyword in call.keywords}
            words = [word.value for word in call.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            is_text = name in ("read_text", "write_text", "fdopen", "open") and not any("b" in word for word in words)
            of_bytes = ("os.open", "self._output.open", "safe_open", "archive.open")
            is_ours = ast.unparse(call.func) in ("write_text", "_open", *of_bytes)
            if (is_text and not is_ours and "encoding" not in said and "utf-8" not in words) or "text" in said:
                silent.append(f"{file}:{call.lineno}: {ast.unparse(call)}")
    assert silent == []


def test_all_doors_lead_to_the_same_run(tmp_path: Path) -> None:
    places = {"GLUE_POOL_OUTPUTS": str(tmp_path / "outputs"), "GLUE_POOL_CACHE": str(tmp_path / "cache")}
    line = [*TINY, "pooling=mean", "tracking=none"]
    assert "this result was there already" not in glue_pool_says("train", *line, environment=places)
    (file,) = tmp_path.rglob("result.json")
    train = [str(Path(GLUE_POOL).with_name("glue-pool-train"))]
    module = [sys.executable, "-m", "glue_pool.train"]
    python = [sys.executable, "-c", "import sys, glue_pool, json; print(json.dumps(glue_pool.run(sys.argv[1:])))"]
    for door in (train, module, python):
        done = subprocess.run([*door, *line], env=os.environ | places, capture_output=True, text=True, check=True)
        assert "this result was there already" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == json.loads(file.read_text())


def test_the_report_is_on_the_folder_that_results_go_to(tmp_path: Path) -> None:
    Drawn(("task=rte", "pooling=mean")).write(tmp_path / "mine")
    said = glue_pool_says("report", environment={"GLUE_POOL_OUTPUTS": str(tmp_path / "mine")})
    assert str(tmp_path / "mine/report/index.html") in said
    assert (tmp_path / "mine/report/scores.csv").is_file()
    assert "error: elsewhere: there is no such folder" in glue_pool_says("report", "elsewhere", code=2)


# the choices


SOURCED = ("pooling", "encoder", "task", "model")


def listed(capsys: Printed, *arguments: str) -> dict[str, str]:
    """What `glue-pool list` says of each name, its lines joined."""
    cli.main(["list", *arguments])
    found: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines():
        assert len(line) <= 80
        if line[0] != " ":
            name, _, text = line.partition("  ") if arguments else line.partition(" ")
            found[name] = text.strip()
        else:
            found[name] += " " + line.strip()
    return found


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def files(group: str) -> set[str]:
    return {file.stem for file in (ROOT / "conf" / group).glob("*.yaml")}


def test_every_group_has_a_sentence_and_its_number_of_choices(capsys: Printed) -> None:
    groups = listed(capsys)
    assert set(groups) >= {"task", "pooling", "encoder", "model", "data", "experiment", "hydra/launcher"}
    for group, text in groups.items():
        count, _, sentence = text.partition("  ")
        names = listed(capsys, group)
        assert set(names) == files(group)
        assert int(count) == sum(not text.startswith("another name of ") for text in names.values())
        assert len(sentence) > 10


@pytest.mark.parametrize("group", [group.name for group in choices.groups()])
def test_every_choice_has_a_sentence_and_a_method_its_source(group: str, capsys: Printed) -> None:
    for name, text in listed(capsys, group).items():
        if not text.startswith("another name of "):
            assert len(text) > 10, name
            assert group not in SOURCED or text.endswith(")"), f"{name}: its first comment ends with (its source)"


def test_a_pooler_is_listed_with_its_paper(capsys: Printed) -> None:
    text = listed(capsys, "pooling")["gem"]
    assert text.startswith("Generalised mean over the last layer's tokens; ")
    assert text.endswith(" (arXiv 1711.02512)")


def test_ones_own_choices_are_listed_too(tmp_path: Path, capsys: Printed) -> None:
    own = tmp_path / "pooling"
    own.mkdir()
    (own / "mine.yaml").write_text("# @package pooling\n# The last two layers, added. (mine)\nname: mine\n")
    (own / "mute.yaml").write_text("name: mute # not a sentence\n")
    (own / "other.yaml").write_text("# A comment.\ndefaults:\n  - mine\n  - _self_\n")
    (own / "more.yaml").write_text("# One more. (ours)\ndefaults: [mine]\nk: 2\n")
    (own / "below").mkdir()
    (own / "below/deep.yaml").write_text("\ufeff# \u00dcber Schichten. (mine)\nname: deep\n", encoding="utf-8")
    (tmp_path / "fast").mkdir()
    (tmp_path / "fast/one.yaml").write_text("# @package _global_\n# One epoch.\ntrain:\n  epochs: 1\n")
    (own / "mean.yaml").write_text("# Not the mean: Hydra takes the package's file.\nname: mean\n")
    packaged = listed(capsys, "pooling")
    assert listed(capsys, "pooling", "--config-dir", str(tmp_path)) == packaged | {
        "mine": "The last two layers, added. (mine)",
        "mute": "",
        "other": "another name of mine",
        "more": "One more. (ours)",
        "below/deep": "\u00dcber Schichten. (mine)",
    }
    assert listed(capsys, "fast", "--config-dir", str(tmp_path)) == {"one": "One epoch."}
    assert listed(capsys, "--config-dir", str(tmp_path))["fast"] == "1  a group of your own: +fast=…"
    count = int(listed(capsys)["pooling"].split()[0])
    assert int(listed(capsys, "--config-dir", str(tmp_path))["pooling"].split()[0]) == count + 4
    (own / "bad.yaml").write_text("name: [\n")
    said = glue_pool_says("list", "pooling", "-cd", str(tmp_path), code=2)
    assert said.startswith(f"error: {own / 'bad.yaml'}: can't be read as YAML (")
