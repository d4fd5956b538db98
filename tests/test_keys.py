"""Run keys: what changes numbers is in them, nothing else is, and no later version of the code changes one."""

import dataclasses
import sys
from pathlib import Path

import pytest

from conftest import Compose
from glue_pool import components, keys, schema
from glue_pool.data import sources
from glue_pool.errors import UserError
from glue_pool.models import identity
from glue_pool.models.poolers import Pooler
from glue_pool.schema import Config

# Written down once: results on people's disks go by them. One may change with keys.SCHEMA alone.
GOLDEN = {
    "": "b6a9dd05102855ad069f",
    "model=bert task=mnli seed=7": "dd69ce309cdccdbc5a85",
    "pooling=gem pooling.p=4 task=stsb subset=n500 optimizer=adamw_stable": "a988678b8e9cce97b464",
    "pooling=scalar_mix encoder.freeze=true encoder.num_hidden_layers=4 train.precision=fp32": "e13af7c98698d7c084c0",
    "pooling=mean encoder.reinit_layers=2 optimizer.layer_decay=0.95 train.max_steps=100": "ca1d64d0e5abcb9a1ee5",
}


def key(cfg: Config, data: str = "d", weights: str = "w") -> str:
    return keys.run_key(cfg, data_id=data, encoder_id=identity.identity_of(cfg, weights))


@pytest.mark.parametrize("line", GOLDEN)
def test_a_key_that_was_given_once_is_given_for_ever(composed: Compose, line: str) -> None:
    assert (keys.SCHEMA, key(composed(*line.split()))[:20]) == (2, GOLDEN[line])


def test_what_cannot_change_the_numbers_is_in_no_key(composed: Compose) -> None:
    same = [
        "seed=0", "tracking=none", "output_root=elsewhere", "save_model=true", "train.threads=1", "train.device=cpu",
        "force=true", "checkpoint.minutes=1", "data.cache_dir=elsewhere", "encoder.cache_layers=5",
        "encoder.name=a/folder/of/the/same/weights", "optimizer.name=mine", "model=maxpool", "pooling=max_seq_mha",
        "pooling.name=mine", "task.name=mine", "task.official_rows.train=7", "task.submission.test=mine.tsv",
        "task.default_average=false", "task.test_splits=[]",
    ]  # fmt: skip
    assert {key(composed(override)) for override in same} == {key(composed())}


def test_what_can_change_the_numbers_is_in_the_key(composed: Compose) -> None:
    others = [
        "seed=1", "optimizer.lr=3e-4", "pooling=mean", "pooling=cls", "pooling=bert", "pooling.k=2", "model=bert",
        "model.dropout=0.2", "subset.size=50", "encoder.freeze=true", "encoder.num_hidden_layers=2",
        "encoder.dropout=0", "encoder.reinit_layers=1", "train.max_length=64", "train.epochs=4",
        "task.columns=[sentence1]", "task.labels=[a,b]", "task.metrics=[accuracy,f1]", "task.dev_splits=[train]",
        "task.train_split=validation", "task.score_range=[0,1]", "task.primary_metric=f1",
    ]  # fmt: skip
    cfg = composed()
    found = [key(cfg), key(cfg, data="other"), key(cfg, weights="other"), *(key(composed(o)) for o in others)]
    found.remove(key(composed("model=bert")))  # which is pooling=bert
    assert len(set(found)) == len(found)


def test_the_same_rows_of_another_task_are_other_data(composed: Compose) -> None:
    for data in ("hub", "synthetic"):
        one, other = (composed(f"data={data}", f"task={task}") for task in ("rte", "wnli"))
        assert sources.content_id(one.data, one.task) != sources.content_id(other.data, other.task)


def test_layers_that_are_drawn_anew_make_another_encoder_by_seed(composed: Compose) -> None:
    plain = {identity.identity_of(composed(f"seed={seed}"), "w") for seed in (0, 1)}
    anew = {identity.identity_of(composed(f"seed={seed}", "encoder.reinit_layers=1"), "w") for seed in (0, 1)}
    assert (len(plain), len(plain | anew)) == (1, 3)


def test_a_config_key_that_is_added_later_changes_no_runs_key(
    composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = composed()
    later = dataclasses.make_dataclass(
        "Later",
        [("label_smoothing", float, schema.key(0.1, neutral=0.0))],  # the default is no longer the neutral value
        bases=(schema.TrainConfig,),
    )
    neutral, default = (later(**vars(cfg.train), **given) for given in ({"label_smoothing": 0.0}, {}))
    assert key(dataclasses.replace(cfg, train=neutral)) == key(cfg)
    assert key(dataclasses.replace(cfg, train=default)) != key(cfg)


POOLER = """
from typing import Any, ClassVar

from glue_pool.models.poolers import Mean

class Mine(Mean):
    {added}

    def __init__(self, d: int, num_layers: int, *, scale: float = 1.0, {later}) -> None:
        super().__init__(d, num_layers)

class Child(Mine):
    pass
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for a module of one's own; it is not to be imported before a test is over."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine_of_keys", raising=False)
    return tmp_path / "mine_of_keys.py"


@pytest.mark.parametrize("name", ["Mine", "Child"])
def test_a_keyword_that_a_component_gets_later_changes_no_runs_key(composed: Compose, written: Path, name: str) -> None:
    def section(**options: object) -> Config:
        return dataclasses.replace(composed(), pooling={"name": "mine", "_target_": f"mine_of_keys.{name}", **options})

    written.write_text(POOLER.format(added="", later=""))
    before = key(section(scale=1.0, tanh="none"))
    assert before == key(section(scale=1, tanh="none"))
    written.write_text(POOLER.format(added='added: ClassVar[dict[str, Any]] = {"power": 2}', later="power: int = 3"))
    assert key(section(scale=1.0, tanh="none", power=2)) == before
    assert key(section(scale=1.0, tanh="none", power=3)) != before
    assert components.complete(section(scale=1.0).pooling, "pooling")["power"] == 2
    assert "mine_of_keys" not in sys.modules  # a finished run is recognised without importing anything
    pooler = components.build(section(power=4).pooling, Pooler, "pooling", 8, 2)  # type: ignore[type-abstract]
    assert type(pooler).__name__ == name


def test_added_that_no_reader_of_the_source_could_tell_is_refused(composed: Compose, written: Path) -> None:
    written.write_text(POOLER.format(added="", later="power: int = 3") + "\nMine.added = {'power': 3}\n")
    section = {"name": "mine", "_target_": "mine_of_keys.Mine"}
    with pytest.raises(UserError, match="`added` has to be a literal in the class itself"):
        components.build(section, Pooler, "pooling", 8, 2)  # type: ignore[type-abstract]


def test_own_components_go_by_name_and_others_by_all_of_target(composed: Compose, written: Path) -> None:
    written.write_text(POOLER.format(added="", later=""))
    own = {"name": "mean", "_target_": "glue_pool.models.poolers.Mean", "tanh": "none"}
    assert components.keyed(own, "pooling") == {"class": "Mean", "tanh": "none"}
    other = {"name": "mine", "_target_": "mine_of_keys.Mine", "tanh": "none", "scale": 2}
    assert components.keyed(other, "pooling") == {"class": "mine_of_keys.Mine", "tanh": "none", "scale": 2.0}
