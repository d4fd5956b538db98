"""`import glue_pool` lets transformers know a saved model's kind, without importing transformers for that.

Its two tables of kinds are told as soon as somebody imports them: the one of configs, and the one of models. A library
for such hooks (wrapt) would take longer to import than all of `glue-pool --help`.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

CONFIGS = "transformers.models.auto.configuration_auto"
MODELS = "transformers.models.auto.modeling_auto"


def _tell_configs(table: ModuleType) -> None:
    from glue_pool.saved.configuration import GluePoolConfig

    table.AutoConfig.register(GluePoolConfig.model_type, GluePoolConfig, exist_ok=True)


def _tell_models(table: ModuleType) -> None:
    from glue_pool.saved.configuration import GluePoolConfig
    from glue_pool.saved.modeling import GluePoolForSequenceClassification

    table.AutoModelForSequenceClassification.register(GluePoolConfig, GluePoolForSequenceClassification, exist_ok=True)


TELL: dict[str, Callable[[ModuleType], None]] = {CONFIGS: _tell_configs, MODELS: _tell_models}


class _Watch(MetaPathFinder):
    """Finds nothing by itself: what the other finders find of `TELL`'s modules is told after it ran."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in TELL:
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = _and_then(spec.loader.exec_module, TELL[name])  # type: ignore[assignment, method-assign]
        return spec


def _and_then(run: Callable[[ModuleType], None], tell: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
    def both(module: ModuleType) -> None:
        run(module)
        tell(module)

    return both


def register() -> None:
    """Tell transformers when it is imported, or now if it was; once is enough, and twice does no harm."""
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())
    for name, tell in TELL.items():
        if (table := sys.modules.get(name)) is not None and getattr(table.__spec__, "_initializing", False) is False:
            tell(table)
