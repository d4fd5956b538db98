"""Every shipped YAML composes into a checked config, in every combination a user may ask for."""

import dataclasses
import inspect
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from conftest import Compose
from glue_pool import commandline, metrics, results, schema
from glue_pool.choices import CONF
from glue_pool.errors import UserError
from glue_pool.schema import Config
from glue_pool.tasks import SourceConfig

GROUPS = {group.name: sorted(f.stem for f in group.glob("*.yaml")) for group in CONF.iterdir() if group.is_dir()}
ALIASES = {"max_seq_mha": "maxpool", "cls_pooler": "bert"}  # names that are taken, and what runs are called


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, names in GROUPS.items() for n in names])
def test_every_shipped_file_composes(composed: Compose, group: str, name: str) -> None:
    cfg = composed(f"{group}={name}")
    section = getattr(cfg, group, None)
    if group == "pooling":
        assert cfg.pooling["name"] == ALIASES.get(name, name)
    elif group in {"task", "data", "optimizer", "model"}:
        assert section is not None
        assert section.name == name


@pytest.mark.parametrize(
    "task", ["rte", *(pytest.param(t, marks=pytest.mark.long) for t in GROUPS["task"] if t != "rte")]
)
def test_every_model_with_every_pooling(composed: Compose, task: str) -> None:
    for model, pooling in product(GROUPS["model"], GROUPS["pooling"]):
        cfg = composed(f"model={model}", f"pooling={pooling}", f"task={task}")
        assert (cfg.model.name, cfg.method, cfg.task.name) == (model, ALIASES.get(pooling, pooling), task)


def test_a_models_own_pooler_is_used_unless_another_is_asked_for(composed: Compose) -> None:
    assert composed("model=maxpool").pooling["name"] == "maxpool"
    assert composed("model=bert").pooling == {
        "name": "bert",
        "_target_": "glue_pool.models.poolers.Cls",
        "tanh": "pretrained",
    }
    assert composed("pooling=max_cls", "model=maxpool", "encoder=roberta_base").pooling["name"] == "max_cls"


def test_an_experiment_overrides_groups_and_the_command_line_overrides_it(composed: Compose) -> None:
    offline = composed("experiment=offline")
    assert (offline.encoder.name, offline.data.name) == ("minilm_l6", "synthetic")
    assert composed("experiment=offline", "data=local", "optimizer.lr=1e-3").data.name == "local"
    assert composed("experiment=offline", "optimizer.lr=1e-3").optimizer.lr == 1e-3


def test_adamw_stable_is_what_mosbach_et_al_found_stable(composed: Compose) -> None:
    cfg = composed("optimizer=adamw_stable")
    assert (cfg.train.epochs, cfg.train.batch_size, cfg.optimizer.eps) == (20, 16, 1e-6)
    assert composed("optimizer=adamw_stable", "train.epochs=3").train.epochs == 3


def test_every_key_is_described_in_the_schema() -> None:
    for section in (*(item.type for item in dataclasses.fields(Config)), SourceConfig):
        if isinstance(section, type) and dataclasses.is_dataclass(section):
            source = inspect.getsource(section)
            for item in dataclasses.fields(section):
                declared = source[source.index(f"    {item.name}: ") :].splitlines()
                assert declared[1].strip().startswith('"""'), f"{section.__name__}.{item.name}"


@pytest.mark.parametrize("task", GROUPS["task"])
def test_a_tasks_metrics_are_known_and_its_primary_one_is_computed(composed: Compose, task: str) -> None:
    cfg = composed(f"task={task}").task
    assert set(cfg.metrics) <= set(metrics.METRICS)
    assert cfg.primary_metric in cfg.metrics
    own = (
        {*cfg.dev_splits, cfg.train_split} if cfg.dev_share is None else set()
    )  # a share of train is no official split
    assert set(cfg.official_rows) == own | set(cfg.test_splits)
    if cfg.source.path == "nyu-mll/glue":
        assert cfg.submission.keys() == set(cfg.test_splits)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=-1", "optimizer.lr=-1.0: has to be above 0"),
        ("optimizer.lr=nan", "not a finite number"),
        ("optimizer.layer_decay=0", "above 0 and at most 1"),
        ("train.batch_size=0", "at least 1"),
        ("train.precision=fp16", "one of fp32, bf16, auto"),
        ("model.dropout=1", "below 1"),
        ("pooling.tanh=yess", "one of none, pretrained, new"),
    ],
)
def test_impossible_values_are_named(composed: Compose, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        composed(override)


def test_the_schema_and_the_shipped_files_agree_on_defaults(composed: Compose) -> None:
    shipped = flat(dataclasses.asdict(composed()))
    of_schema = {
        key: value for key, value in flat(dataclasses.asdict(Config())).items() if value not in ("???", [], {})
    }
    assert {"optimizer.lr", "train.epochs", "checkpoint.minutes", "subset.size", "model.dropout"} <= of_schema.keys()
    of_rte = {"title", "order", "synthetic", "source.path", "source.config", "language", "license"}
    differing = {key for key, value in of_schema.items() if shipped[key] != value}
    assert differing == {"encoder.license", *(f"task.{key}" for key in of_rte)}


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys and values, `optimizer.lr` for one; a component's section and an empty one are values."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        nested = isinstance(value, dict) and value and name not in schema.COMPONENTS
        found |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return found


def test_a_sweep_may_name_groups_by_a_pattern() -> None:
    some = commandline.jobs(["-m", "pooling=glob([m*,cls],exclude=mha)", "task=glob([r*,m*])"])
    pooled = {cfg.pooling["name"] for cfg in some}
    assert (
        {"cls", "mean", "max"} <= pooled <= {name for name in GROUPS["pooling"] if name[0] == "m"} - {"mha"} | {"cls"}
    )
    assert {cfg.task.name for cfg in some} == {"rte", "mnli", "mrpc"}
    assert len(commandline.jobs(["-m", "pooling=glob(*)", "seed=range(0,10)"])) == 10 * len(GROUPS["pooling"])


MINE = "name: mine\n_target_: glue_pool.models.poolers.Mean\ntanh: none\n"
OWN = {
    "own/pooling/below/mine.yaml": MINE,
    "own/pooling/below/other.yaml": MINE.replace("mine", "other"),
    "own/recipe/plain_but_long.yaml": "defaults: [plain]\nname: long\n",
    "own/fast/one.yaml": "# @package _global_\ntrain:\n  epochs: 1\n",
    "own/fast/below/two.yaml": "\ufeff# @package _global_\ntrain:\n  epochs: 2\n",
    "own/keys/seven.yaml": "epochs: 7\n",
    "own/experiment/first.yaml": "# @package _global_\ndefaults:\n  - override /pooling: mean\ntrain:\n  epochs: 5\n",
    "own/experiment/second.yaml": "# @package _global_\ndefaults: [first, _self_]\nseed: 5\n",
    "own/experiment/third.yaml": (
        "# @package _global_\ndefaults:\n  - /fast: one\n  - optional /fast@data: none\n  - override /task: mrpc\n"
    ),
    "own/experiment/hydras.yaml": (
        "# @package _global_\ndata:\n  dir: ${hydra:runtime.cwd}\n"
        "output_root: ${hydra:job.name}-${hydra:runtime.choices.task}-${hydra:job.override_dirname}\n"
    ),
    "own/experiment/numbered.yaml": "# @package _global_\nsubset:\n  size: ${oc.decode:1${hydra:job.num}}\n",
    "own/primary.yaml": (
        "defaults:\n  - config\n  - _self_\n  - override pooling: far\nhydra:\n  searchpath: [far]\nseed: 9\n"
    ),
    "far/pooling/far.yaml": MINE.replace("mine", "far"),
    "package/__init__.py": "",
    "package/pooling/packed.yaml": MINE.replace("mine", "packed"),
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder `own` of one's own choices, and others beside it, in the working directory."""
    for name, content in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def values(cfg: Config, *names: str) -> tuple[Any, ...]:
    of = flat(dataclasses.asdict(cfg)) | {f"pooling.{name}": value for name, value in cfg.pooling.items()}
    return tuple(of[name] for name in names)


@pytest.mark.parametrize(
    ("line", "name", "composed"),
    [
        ("pooling=below/mine pooling.tanh=new", "pooling.name", ["mine"]),
        pytest.param("-m pooling=below/mine,mean seed=1", "pooling.name", ["mine", "mean"], marks=pytest.mark.long),
        ("-m pooling=glob(below/*)", "pooling.name", ["mine", "other"]),
        pytest.param("+pooling/below@pooling=mine", "pooling.name", ["mine"], marks=pytest.mark.long),
        pytest.param("pooling=mean.yaml", "pooling.name", ["mean"], marks=pytest.mark.long),
        pytest.param("pooling={k:2}", "pooling.k", [2], marks=pytest.mark.long),
        ("-m pooling={k:1},{k:2}", "pooling.k", [1, 2]),
        ("~pooling.num_heads", "pooling.num_heads", [4]),
        pytest.param("+fast=one", "train.epochs", [1], marks=pytest.mark.long),
        ("+fast=below/two", "train.epochs", [2]),
        pytest.param("+fast/below=two seed=3", "train.epochs", [2], marks=pytest.mark.long),
        pytest.param("+fast=[below/two,one]", "train.epochs", [1], marks=pytest.mark.long),
        ("-m +fast=one,below/two", "train.epochs", [1, 2]),
        ("+keys@train=seven", "train.epochs", [7]),
        ("train.epochs=${seed} seed=3", "train.epochs", [3]),
        ("experiment=[first,second] train.eval_steps=2", "train.epochs", [5]),
        pytest.param("experiment=second", "seed", [5], marks=pytest.mark.long),
        pytest.param("experiment=third", "train.epochs", [1], marks=pytest.mark.long),
        pytest.param("~experiment", "seed", [0], marks=pytest.mark.long),
        ("experiment=hydras seed=3", "output_root", ["train-rte-experiment=hydras,seed=3"]),
        ("-m experiment=hydras seed=3,4", "output_root", [f"train-rte-experiment=hydras,seed={i}" for i in (3, 4)]),
        ("-m experiment=numbered seed=3,4", "subset.size", [10, 11]),
        ("-m seed=${hydra:job.num} optimizer.lr=1e-5,2e-5", "seed", [0, 1]),
        pytest.param("data.dir=${hydra:job.name}", "data.dir", ["train"], marks=pytest.mark.long),
        pytest.param("hydra.searchpath=[far] pooling=far", "pooling.name", ["far"], marks=pytest.mark.long),
        ("-m hydra.searchpath=[far,pkg://package] pooling=glob([far,packed])", "pooling.name", ["far", "packed"]),
        pytest.param("--config-name=primary", "pooling.name", ["far"], marks=pytest.mark.long),
        ("--config-name=primary pooling=below/mine", "seed", [9]),
    ],
)
def test_what_hydra_takes_is_taken(own: None, line: str, name: str, composed: list[Any]) -> None:
    jobs = commandline.jobs(["--config-dir=own", *line.split()])
    assert [value for cfg in jobs for value in values(cfg, name)] == composed


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pooling=below/mien", "pooling=below/mien: no such pooling; did you mean 'below/mine'?"),
        ("+fats=one", "fats: no such key; did you mean 'fast'?"),
        ("+fast=on", "fast=on: no such fast; did you mean 'one'? (there are one, below/two)"),
        (
            "+keys=seven",
            "keys: no such key; its file begins with # @package _global_, or is put into a section: +keys@",
        ),
        ("+recipe=plain_but_long", "+recipe=plain_but_long: recipe has a choice already; recipe=plain_but_long takes"),
        pytest.param(
            "fast=one",
            "fast=one: Could not override 'fast'. No match in the defaults list. To append to your default",
            marks=pytest.mark.long,
        ),
        ("model=null", "model=null: Hydra takes no null for a group; leave it out, or ~model"),
        pytest.param("~pooling.tanh", "pooling.tanh is missing or empty", marks=pytest.mark.long),
        pytest.param("~train.epochs", "~train.epochs: a run needs every key", marks=pytest.mark.long),
        ("pooling={kk:2}", "pooling.kk: no such key; did you mean 'k'?"),
        pytest.param(
            "-m pooling=glob(*/nothing)", "pooling=glob(*/nothing): matches none of adapool", marks=pytest.mark.long
        ),
        ("-m hydra.verbose=true,false", "hydra.verbose=true,false: what is Hydra's own takes one value"),
        pytest.param(
            "hydra.searchpath=far",
            "hydra.searchpath=far: hydra.searchpath must be a list of strings. Got: far",
            marks=pytest.mark.long,
        ),
        ("--config-name=primry", "primry: Cannot find primary config 'primry'"),
    ],
)
def test_what_hydra_refuses_is_one_line(own: None, line: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        commandline.jobs(["--config-dir=own", *line.split()])
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_choice_in_another_encoding_is_named(own: None) -> None:
    Path("own/fast/odd.yaml").write_text("# @package _global_\ntrain: {}\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"own/fast/odd\.yaml: is not UTF-8 text"):
        commandline.jobs(["--config-dir=own", "+fast=odd"])


def test_named_subsets_have_the_size_of_their_name(composed: Compose) -> None:
    for name in GROUPS["subset"]:
        size = composed(f"subset={name}").subset.size
        assert name == ("full" if size is None else f"n{size}")
    assert {100, 250, 500, 1000, 2500, 10000} <= {composed(f"subset={name}").subset.size for name in GROUPS["subset"]}
    assert composed("subset=n500", "subset.seed=3").subset.seed == 3


@pytest.mark.parametrize("label", ["${seed}", "\\${seed}", "$", "{a}", "${oc.env:HOME}"])
def test_a_config_goes_through_plain_data_as_it_is(composed: Compose, label: str) -> None:
    cfg = composed("task=rte")
    cfg = dataclasses.replace(cfg, task=dataclasses.replace(cfg.task, labels=[label, "other"]))
    assert schema.from_plain(results.plain(cfg)) == cfg
