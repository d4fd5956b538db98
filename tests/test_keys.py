"""Run keys: what changes numbers is in them, nothing else is, and no later version of the code changes one."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Compose
from glue_pool import components, fields, keys, results, schema
from glue_pool.data import sources
from glue_pool.errors import UserError
from glue_pool.models import identity
from glue_pool.models.poolers import Pooler
from glue_pool.schema import Config

# Written down once: results on people's disks go by them. One may change with keys.SCHEMA alone.
GOLDEN = {
    "": "6dbd71eed104ebf623c3",
    "model=bert task=mnli seed=7": "878d32bfc6cb0e3bac35",
    "pooling=gem pooling.p=4 task=stsb subset=n500 optimizer=adamw_stable": "7522f5261fbc6cc7eeef",
    "pooling=scalar_mix encoder.freeze=true encoder.num_hidden_layers=4 train.precision=fp32": "6ac5524e6117951cd70c",
    "pooling=mean encoder.reinit_layers=2 optimizer.layer_decay=0.95 train.max_steps=100": "2effa3128368d3ecb9e4",
    "pooling=mean recipe=mixout recipe.p=0.5 edit=duplicate edit.tie=true train.accumulate=2": "da956f338ca786d9aac2",
}


def key(cfg: Config, data: str = "d", weights: str = "w", recipe: str | None = None) -> str:
    encoder = identity.identity_of(cfg, weights)
    return keys.run_key(cfg, data_id=data, encoder_id=encoder, recipe_id=recipe)


@pytest.mark.parametrize("line", GOLDEN)
def test_a_key_that_was_given_once_is_given_for_ever(composed: Compose, line: str) -> None:
    assert (keys.SCHEMA, key(composed(*line.split()))[:20]) == (2, GOLDEN[line])


def test_what_cannot_change_the_numbers_is_in_no_key(composed: Compose) -> None:
    same = [
        "seed=0", "tracking=none", "output_root=elsewhere", "save_model=true", "train.threads=1", "train.device=cpu",
        "force=true", "checkpoint.minutes=1", "data.cache_dir=elsewhere", "encoder.cache_layers=5",
        "encoder.name=a/folder/of/the/same/weights", "optimizer.name=mine", "model=maxpool", "pooling=max_seq_mha",
        "pooling._target_=glue_pool.models.poolers.attention.MaxSeqMHA",
        "pooling.name=mine", "task.name=mine", "task.official_rows.train=7", "task.submission.test=mine.tsv",
        "task.default_average=false", "task.test_splits=[]", "task.title=mine", "task.order=null",
        "task.group=sentence1", "task.source.path=elsewhere",
        "+task.source.files.train=elsewhere", "task.synthetic=null",
        "encoder.license=mine", "task.license=mine", "task.language=de",
    ]  # fmt: skip
    assert {key(composed(override)) for override in same} == {key(composed())}


def test_what_can_change_the_numbers_is_in_the_key(composed: Compose) -> None:
    others = [
        "seed=1", "optimizer.lr=3e-4", "pooling=mean", "pooling=cls", "pooling=bert", "pooling.k=2", "model=bert",
        "model.dropout=0.2", "subset.size=50", "encoder.freeze=true", "encoder.num_hidden_layers=2",
        "encoder.dropout=0", "encoder.reinit_layers=1", "train.max_length=64", "train.epochs=4",
        "task.columns=[sentence1]", "task.labels=[a,b]", "task.metrics=[accuracy,f1]", "task.dev_splits=[train]",
        "task.train_split=validation", "task.labels=[] task.metrics=[corr] task.primary_metric=corr",
        "task.labels=[] task.metrics=[corr] task.primary_metric=corr task.score_range=[0,1]",
        "task.labels=[] task.metrics=[corr] task.primary_metric=corr task.standardise=true",
        "task.metrics=[accuracy,f1] task.primary_metric=f1", "train.accumulate=2", "task.label=gold", "task.idx=id",
        "+task.label_map={0:entailment,1:not_entailment}", "task.multi_label=true", "task.positive=entailment",
        "task.dev_share=0.1", "task.dev_share=0.2", "task.dev_share=0.1 task.dev_seed=1",
        "task.multi_label=true task.separator=x",
        "edit=duplicate", "edit=duplicate edit.tie=true", "edit=temperature", "edit=temperature edit.tau=0.5",
        "recipe=mixout", "recipe=mixout recipe.p=0.5", "recipe=guided",
    ]  # fmt: skip
    cfg = composed()
    found = [key(cfg), key(cfg, data="other"), key(cfg, weights="other"), *(key(composed(*o.split())) for o in others)]
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
        [("label_smoothing", float, fields.key(0.1, neutral=0.0))],  # the default is no longer the neutral value
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

    def __init__(self, d: int, num_layers: int, *, scale: float = {scale}, {later}) -> None:
        super().__init__(d, num_layers)
        self.power = locals().get("power")

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

    written.write_text(POOLER.format(scale=1.0, added="", later=""))
    before = key(section(scale=1.0, tanh="none"))
    assert before == key(section(scale=1, tanh="none"))
    written.write_text(
        POOLER.format(scale=1.0, added='added: ClassVar[dict[str, Any]] = {"power": 2}', later="power: int = 3")
    )
    assert key(section(scale=1.0, tanh="none", power=2)) == before
    assert key(section(scale=1.0, tanh="none", power=3)) != before
    assert key(section(scale=1.0, tanh="none")) == before  # a YAML of one's own that does not know it
    assert "mine_of_keys" not in sys.modules  # a finished run is recognised without importing anything
    pooler: Any = components.build(section().pooling, Pooler, "pooling", 8, 2)  # type: ignore[type-abstract]
    assert (type(pooler).__name__, pooler.power) == (name, 2)  # and it is built with what its key says


def test_added_that_no_reader_of_the_source_could_tell_is_refused(composed: Compose, written: Path) -> None:
    written.write_text(POOLER.format(scale=1.0, added="", later="power: int = 3") + "\nMine.added = {'power': 3}\n")
    section = {"name": "mine", "_target_": "mine_of_keys.Mine"}
    with pytest.raises(UserError, match="it says another thing when imported than its source does"):
        components.build(section, Pooler, "pooling", 8, 2)  # type: ignore[type-abstract]


def test_a_default_that_changes_finds_no_result_of_the_earlier_one(composed: Compose, written: Path) -> None:
    cfg = dataclasses.replace(composed(), pooling={"name": "mine", "_target_": "mine_of_keys.Mine", "tanh": "none"})
    written.write_text(POOLER.format(scale=1.0, added="", later=""))
    before = key(cfg)
    written.write_text(POOLER.format(scale=2.0, added="", later=""))
    assert key(cfg) != before


BASE = """
from glue_pool.training.recipe import Recipe

class Rests(Recipe):
    def identity(self):
        return "a teacher"

class Free(Recipe):
    pass
"""
CLASSES = "\n\nclass A({0}Rests):\n    pass\n\nclass B({0}Free):\n    pass\n"
RECIPES = {
    "pkg_of_keys/__init__.py": "",
    "pkg_of_keys/base.py": BASE,
    "pkg_of_keys/relative.py": "from .base import Free, Rests" + CLASSES.format(""),
    "pkg_of_keys/dotted.py": "import pkg_of_keys.base as of" + CLASSES.format("of."),
    "other_of_keys.py": "from pkg_of_keys import base" + CLASSES.format("base."),
    "out_of_keys/__init__.py": "from .of import *\nfrom pkg_of_keys.relative import B",
    "out_of_keys/of.py": "from pkg_of_keys.relative import A",
    "made_of_keys.py": "from pkg_of_keys import base\nA, B = (type('X', (c,), {}) for c in (base.Rests, base.Free))\n",
}


@pytest.mark.parametrize(
    "module", ["pkg_of_keys.relative", "pkg_of_keys.dotted", "other_of_keys", "out_of_keys", "made_of_keys"]
)
def test_what_a_recipe_rests_on_is_in_its_key_wherever_it_has_that_from(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    for name, text in RECIPES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if "of_keys" in name]:
        monkeypatch.delitem(sys.modules, name)
    cfg = composed()
    ids = [
        results.recipe_id(dataclasses.replace(cfg, recipe={"name": "mine", "_target_": f"{module}.{cls}"}))
        for cls in ("A", "B")
    ]
    assert ids == ["a teacher", None]
    assert key(cfg, recipe="a teacher") != key(cfg)


def test_a_section_that_is_added_later_changes_no_runs_key(composed: Compose) -> None:
    @dataclasses.dataclass
    class Perturb:
        folder: str = fields.key("", in_key=False)
        share: float = fields.key(0.0, neutral=0.0)

    later = dataclasses.make_dataclass(
        "Later", [("perturb", Perturb, dataclasses.field(default_factory=Perturb))], bases=(Config,)
    )
    cfg = composed()
    assert key(later(**vars(cfg))) == key(cfg)
    assert key(later(**vars(cfg), perturb=Perturb(share=0.1))) != key(cfg)


def test_a_runs_own_folder_is_that_of_its_golden_key(composed: Compose, tmp_path: Path) -> None:
    """Of data and encoder that can be identified without a network."""
    cfg = composed("experiment=offline", "edit=duplicate", "recipe=mixout", f"output_root={tmp_path}")
    assert results.find(cfg).path.name == "seed=0-99a83acf"


def test_own_components_go_by_name_and_others_by_all_of_target(composed: Compose, written: Path) -> None:
    written.write_text(POOLER.format(scale=1.0, added="", later=""))
    own = {"name": "mean", "_target_": "glue_pool.models.poolers.Mean", "tanh": "none"}
    assert components.keyed(own, "pooling") == {"class": "Mean", "tanh": "none"}
    other = {"name": "mine", "_target_": "mine_of_keys.Mine", "tanh": "none", "scale": 2}
    assert components.keyed(other, "pooling") == {"class": "mine_of_keys.Mine", "tanh": "none", "scale": 2.0}
