"""Parts that a config names by class (poolers, recipes, edits): how they are built, and what says which one it is.

A component's section of the config has `name`, `_target_` (the class) and the keyword-only arguments of the class.
The class may say in `added` which of them came after its first release, with the values that change nothing:

    added: ClassVar[Mapping[str, Any]] = {"scale": "head"}

so that a run made before is found again. Nothing here imports a class to say which component a config means: a finished
run is recognised without torch.
"""

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from glue_pool.errors import UserError
from glue_pool.schema import nearest

OWN = "glue_pool."  # where the package's own classes are
BASES = ("glue_pool.models.poolers.Pooler", "glue_pool.models.edit.Edit", "glue_pool.training.recipe.Recipe")
T = TypeVar("T")


def build(
    section: Mapping[str, Any],
    base: type[T],
    where: str,
    *args: Any,
    beside: Collection[str] = (),
    classes: Iterable[type] | None = None,
) -> T:
    """Return an instance of the class that a section names, made of args and of the section's keys as keywords.

    base: what the class has to be a subclass of. where: the section's name in the config. beside: keys that whoever
    puts the parts together reads. classes: if given, the only ones besides the package's own: nothing is imported
    because the section names it. Raises UserError, which names the key, if the class or a key of it can't be used.
    """
    cls = find(section, base, where, classes)
    options = {name: value for name, value in section.items() if name not in ("name", "_target_", *beside)}
    accepted = {
        name: parameter
        for name, parameter in _signature(cls).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for name, value in options.items():
        if name not in accepted:
            keys = ", ".join(accepted) or "none"
            raise UserError(
                f"{where}.{name}: {cls.__name__} has no such key{nearest(name, list(accepted))} (it takes {keys})"
            )
        options[name] = _typed(f"{where}.{name}", value, accepted[name].annotation)
    for name, parameter in accepted.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise UserError(f"{where}.{name} is missing: {cls.__name__} needs it")
    return cls(*args, **options)


def find(section: Mapping[str, Any], base: type[T], where: str, classes: Iterable[type] | None = None) -> type[T]:
    """Return the class that a section names, imported unless `classes` are given; arguments and errors as `build`."""
    target = str(section["_target_"])
    if classes is not None and not target.startswith(OWN):
        found = next((cls for cls in classes if full_name(cls) == target), None)
        if found is None:
            raise UserError(f"{where}._target_={target}: no class of this package; hand it in: classes=[…]")
    else:
        found = _imported(target, where)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{where}._target_={target}: not a {full_name(base)}")
    if (read := declared(target, where)).added != dict(getattr(found, "added", {})):
        raise UserError(f"{where}._target_={target}: `added` has to be a literal in the class itself, not {read.added}")
    return found


def full_name(cls: type) -> str:
    """Return what `_target_` calls a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def keyed(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what of a component's section can change a run's numbers.

    The package's own classes go by their name, wherever they are; others by all of `_target_`. The section's own name
    is none of it, nor is a key that the class says was added later, while its value changes nothing. A whole number is
    what the class would make of it.
    """
    target = str(section["_target_"])
    options = {name: _number(value) for name, value in section.items() if name not in ("name", "_target_")}
    for name, neutral in declared(target, where).added.items():
        if name in options and options[name] == _number(neutral):
            del options[name]
    return {**options, "class": target.rpartition(".")[2] if target.startswith(OWN) else target}


def complete(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a section with what the class says was added after it was written."""
    return {**declared(str(section["_target_"]), where).added, **section}


@dataclass(frozen=True)
class Declared:
    """What a class says of itself: the keywords that were added later, and the methods beside those of its base."""

    added: dict[str, Any] = field(default_factory=dict)
    methods: frozenset[str] = frozenset()


def declared(target: str, where: str) -> Declared:
    """Read what a class says of itself from its source, or from the class where the source doesn't tell.

    Base classes count where they are of the same package, or of this one. Raises UserError if there is no such module.
    """
    module, _, name = target.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise UserError(f"{where}._target_={target}: can't be imported (there is no module {module!r})")
    try:
        if spec.origin is None or not spec.origin.endswith(".py"):
            raise _Untold
        return _in_source(Path(spec.origin), Path(spec.origin).stat().st_mtime_ns, module, name)
    except (_Untold, OSError, SyntaxError):
        return _of_class(_imported(target, where))


class _Untold(Exception):
    """A source does not tell what a class says of itself."""


@lru_cache(maxsize=256)
def _in_source(file: Path, _mtime: int, module: str, name: str) -> Declared:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        raise _Untold
    is_base = f"{module}.{name}" in BASES
    methods = {node.name for node in found.body if isinstance(node, ast.FunctionDef) and not is_base}
    added = next(_values(found), None)
    for base in found.bases:
        of_base = _of_base(base, tree, file, _mtime, module)
        methods |= of_base.methods
        added = of_base.added if added is None and of_base.added else added
    return Declared(added or {}, frozenset(methods))


def _values(of: ast.ClassDef) -> Iterator[dict[str, Any]]:
    for node in of.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "added" for target in targets):
            value = getattr(node, "value", None)
            try:
                yield dict(ast.literal_eval(value)) if value else {}
            except (ValueError, TypeError):
                raise _Untold from None


def _of_base(base: ast.expr, tree: ast.Module, file: Path, mtime: int, module: str) -> Declared:
    if not isinstance(base, ast.Name):  # nn.Module
        return Declared()
    if any(isinstance(node, ast.ClassDef) and node.name == base.id for node in tree.body):
        return _in_source(file, mtime, module, base.id)
    package = module.partition(".")[0]
    for node in tree.body:
        for alias in node.names if isinstance(node, ast.ImportFrom) and not node.level else ():
            source = str(getattr(node, "module", ""))
            if (alias.asname or alias.name) == base.id and source.partition(".")[0] in (package, OWN[:-1]):
                return declared(f"{source}.{alias.name}", base.id)
    return Declared()


def _of_class(cls: Any) -> Declared:
    methods = {name for of in getattr(cls, "__mro__", ()) if full_name(of) not in BASES for name in vars(of)}
    return Declared(dict(getattr(cls, "added", {})), frozenset(methods))


def _imported(target: str, where: str) -> Any:
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}._target_={target}: can't be imported ({error})") from None


def _signature(cls: type) -> inspect.Signature:
    try:
        return inspect.signature(cls, eval_str=True)
    except NameError:  # annotations that only a type checker sees
        return inspect.signature(cls)


def _number(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _typed(name: str, value: Any, annotation: Any) -> Any:
    """Return the value as the annotated type takes it: an int may stand for a float, nothing else is converted."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return value
    try:
        of_type: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        return of_type.validate_python(value, strict=True)
    except ValidationError:
        raise UserError(f"{name}={value}: has to be {_said(annotation)}") from None


def _said(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    if isinstance(annotation, UnionType) or get_origin(annotation) in (Union, Literal):
        return " or ".join(_said(kind) for kind in get_args(annotation))
    return getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else str(annotation)
