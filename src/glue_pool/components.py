"""Parts that a config names by class (poolers, recipes, edits): how they are built, and what says which one it is.

A component's section of the config has `name`, `_target_` (the class) and the keyword-only arguments of the class.
The class may say in `added` which of them came after its first release, with the values that change nothing:

    added: ClassVar[Mapping[str, Any]] = {"scale": "head"}

so that a run made before is found again. What a class says is read from its source: a finished run is recognised
without torch, and a report of somebody's runs runs none of their code.
"""

import ast
import hashlib
import importlib
import inspect
import math
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from glue_pool.errors import UserError, nearest

PACKAGE = "glue_pool."  # where the package's own classes are
RECIPE = "glue_pool.training.recipe.Recipe"  # whose `identity` says nothing
FOREIGN = ("torch", "abc", "typing", "collections")  # whose classes say nothing of components
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
    given = {**_of_class(cls).missing(section), **section}
    options = {name: value for name, value in given.items() if name not in ("name", "_target_", *beside)}
    accepted = _keywords(cls)
    for name, value in options.items():
        if name not in accepted:
            keys = ", ".join(accepted) or "none"
            raise UserError(
                f"{where}.{name}: {cls.__name__} has no such key{nearest(name, list(accepted))} (it takes {keys})"
            )
        options[name] = _typed(f"{where}.{name}", value, accepted[name].annotation)
    if lacking := [name for name in accepted if name not in options]:
        raise UserError(f"{where}.{lacking[0]} is missing: {cls.__name__} needs it")
    return cls(*args, **options)


def find(section: Mapping[str, Any], base: type[T], where: str, classes: Iterable[type] | None = None) -> type[T]:
    """Return the class that a section names, imported unless `classes` are given; arguments and errors as `build`."""
    target = str(section["_target_"])
    if classes is not None and not target.startswith(PACKAGE):
        found = next((cls for cls in classes if _goes_by(cls, target)), None)
        if found is None:
            raise UserError(f"{where}._target_={target}: no class of this package; hand it in: classes=[…]")
    else:
        read = in_source(target)  # before it is imported, as a run's key was made
        found = _imported(target, where)
        if read is not None and isinstance(found, type) and read != _of_class(found):
            raise UserError(f"{where}._target_={target}: it says another thing when imported than its source does")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{where}._target_={target}: not a {full_name(base)}")
    return found


def full_name(cls: type) -> str:
    """Return what `_target_` calls a class: by the outermost package around its module that has it, or its module."""
    ends = (i for i, letter in enumerate(f"{cls.__module__}.") if letter == ".")
    names = (f"{cls.__module__[:end]}.{cls.__qualname__}" for end in ends)
    return next(name for name in names if _goes_by(cls, name))


def _goes_by(cls: type, target: str) -> bool:
    """Whether a target names a class, by its own module or by another that is imported and has it."""
    module, _, name = target.rpartition(".")
    live = sys.modules.get(module)
    return target == f"{cls.__module__}.{cls.__qualname__}" or (live is not None and vars(live).get(name) is cls)


def keyed(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return what of a component's section can change a run's numbers.

    The package's own classes go by their name, wherever they are; others by all of `_target_`. The section's own name
    is none of it, nor is a key that the class says was added later, while its value changes nothing. A key that is not
    given has the class's default, or that value. A whole number is what the class would make of it.
    """
    target = str(section["_target_"])
    said = declared(target, where)
    given = {**said.missing(section), **section}
    options = {name: _number(value) for name, value in given.items() if name not in ("name", "_target_")}
    for name, neutral in said.added.items():
        if name in options and options[name] == _number(neutral):
            del options[name]
    return {**options, "class": class_name(target)}


def class_name(target: str) -> str:
    """Return how a class goes in keys and tables: the package's own by its name, others by all of `_target_`."""
    return target.rpartition(".")[2] if target.startswith(PACKAGE) else target


def source_id(cls: type) -> str | None:
    """Return a hash of the file that a class is in; None for the package's own, whose version is known."""
    if full_name(cls).startswith(PACKAGE):
        return None
    try:
        return hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()
    except (OSError, TypeError):  # of a notebook: of this process alone
        return f"{os.getpid()}-{id(cls)}"


@dataclass(frozen=True)
class Declared:
    """What a class says of itself: keywords that were added later, all keywords' defaults, whether it has an identity.

    identifies: whether a recipe says what outside the config it rests on (`Recipe.identity`). bounds: of a pooler
    (`Pooler.bounds`); on_frozen: of a recipe (`Recipe.on_frozen`).
    """

    added: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    identifies: bool = False
    bounds: dict[str, str] = field(default_factory=dict)
    on_frozen: bool = True

    def missing(self, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords that a section does not give: what came later with the value that changes nothing."""
        return {name: value for name, value in {**self.defaults, **self.added}.items() if name not in section}


def declared(target: str, where: str) -> Declared:
    """Return what a class says of itself, by its source, or by itself where the source doesn't tell.

    Raises UserError if there is no such class.
    """
    read = in_source(target)
    if read is None:
        found = _imported(target, where)
        if not isinstance(found, type):
            raise UserError(f"{where}._target_={target}: not a class")
        read = _of_class(found)
    return read


def in_source(target: str) -> Declared | None:
    """Return what a class says of itself, without running any code; None where that can't be told.

    A class whose module is imported already speaks for itself.
    """
    module, _, name = target.rpartition(".")
    if (live := sys.modules.get(module)) is not None:
        found = getattr(live, name, None)
        return _of_class(found) if isinstance(found, type) else None
    try:
        found = _in_module(module, name)
        return None if found is None else _parsed(*found)
    except (_Untold, OSError, SyntaxError, ValueError, RecursionError):
        return None


def docstring(target: str) -> str:
    """Return the docstring of one of the package's own classes, read from its source; of another class, nothing."""
    module, _, name = target.rpartition(".")
    if not target.startswith(PACKAGE):
        return ""
    try:
        found = _in_module(module, name)
    except (_Untold, OSError, SyntaxError, ValueError, RecursionError):
        return ""
    return (ast.get_docstring(found[0]) or "") if found else ""


class _Untold(Exception):
    """A source does not tell what a class says of itself."""


class _Absent(_Untold):
    """A module binds no such name."""


@dataclass(frozen=True)
class _Source:
    """A module's source; package: what its relative imports begin at."""

    module: str
    package: str
    tree: ast.Module


def _in_module(module: str, name: str) -> tuple[ast.ClassDef, _Source] | None:
    """Return where the class is that a module has by a name, its own or imported; None for a FOREIGN one."""
    path: Any = None
    spec: Any = None
    for end in (i for i, letter in enumerate(f"{module}.") if letter == "."):  # a.b.c: a, a.b, a.b.c
        spec = PathFinder.find_spec(module[:end], path)
        if spec is None:
            raise _Untold
        path = spec.submodule_search_locations
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise _Untold
    file = Path(spec.origin)
    package = module.rpartition(".")[0] if path is None else module
    return _bound(name, _Source(module, package, _tree(file, file.stat().st_mtime_ns)))


@lru_cache(maxsize=256)
def _tree(file: Path, _mtime: int) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _bound(name: str, source: _Source) -> tuple[ast.ClassDef, _Source] | None:
    """Return where the class is that a source calls by a name, maybe with dots; None for a FOREIGN one."""
    root, _, rest = name.partition(".")
    for node in reversed(source.tree.body):  # what is bound last counts
        if isinstance(node, ast.ClassDef) and node.name == root and not rest:
            return node, source
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            bound = alias.asname or (alias.name if isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0])
            if bound not in (root, "*"):
                continue
            origin = _origin(node, alias, source.package)
            foreign = origin.partition(".")[0] in FOREIGN
            if bound == "*":
                if foreign:  # it may have the name, or not
                    raise _Untold
                with suppress(_Absent):
                    return _in_module(origin.removesuffix(".*"), name)
                continue
            of, _, cls = f"{origin}.{rest}".rstrip(".").rpartition(".")
            return None if foreign else _in_module(of, cls)
    raise _Absent


def _parsed(found: ast.ClassDef, source: _Source) -> Declared:
    if found.keywords or found.decorator_list:
        raise _Untold
    bases = [_parsed(*of) for base in found.bases if (of := _bound(ast.unparse(base), source)) is not None]
    said: dict[str, Any] = {}
    init, identifies = None, False
    for node in found.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            init = _defaults(node)
        elif isinstance(node, ast.FunctionDef) and node.name == "identity":
            identifies = f"{source.module}.{found.name}" != RECIPE
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id in ("added", "bounds", "on_frozen"):
                    said[target.id] = _literal(node.value)
    return Declared(
        dict(said["added"]) if "added" in said else next((of.added for of in bases if of.added), {}),
        init if init is not None else next((of.defaults for of in bases if of.defaults), {}),
        identifies or any(of.identifies for of in bases),
        _bounds(said["bounds"], found.name) if "bounds" in said else next((of.bounds for of in bases if of.bounds), {}),
        bool(said["on_frozen"]) if "on_frozen" in said else all(of.on_frozen for of in bases),
    )


def _bounds(said: Any, of: str) -> dict[str, str]:
    if not isinstance(said, Mapping) or not all(bound in ("layers", "heads") for bound in said.values()):
        raise UserError(f"{of}.bounds = {said!r}: takes keywords with what bounds them, 'layers' or 'heads'")
    return dict(said)


def _defaults(init: ast.FunctionDef) -> dict[str, Any]:
    pairs = zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    return {argument.arg: _literal(default) for argument, default in pairs if default is not None}


def _literal(value: ast.expr) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError):
        raise _Untold from None


def _origin(node: ast.Import | ast.ImportFrom, alias: ast.alias, package: str) -> str:
    """Return the full name of what an import statement binds."""
    if isinstance(node, ast.Import):
        return alias.name if alias.asname else alias.name.partition(".")[0]
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else []), alias.name])


def _of_class(cls: Any) -> Declared:
    defaults = {
        name: keyword.default for name, keyword in _keywords(cls).items() if keyword.default is not keyword.empty
    }
    of = next((of for of in getattr(cls, "__mro__", ()) if "identity" in vars(of)), None)
    return Declared(
        dict(getattr(cls, "added", {})),
        defaults,
        of is not None and full_name(of) != RECIPE,
        _bounds(getattr(cls, "bounds", {}), str(getattr(cls, "__name__", cls))),
        bool(getattr(cls, "on_frozen", True)),
    )


def _keywords(cls: type) -> dict[str, inspect.Parameter]:
    """Return the keyword-only arguments of a class."""
    try:
        signature = inspect.signature(cls, eval_str=True)
    except NameError:  # annotations that only a type checker sees
        signature = inspect.signature(cls)
    except (TypeError, ValueError):  # a built-in class
        return {}
    return {name: p for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}


def _imported(target: str, where: str) -> Any:
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}._target_={target}: can't be imported ({error})") from None
    except Exception as error:  # somebody's own code
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise UserError(f"{where}._target_={target}: can't be imported ({said})") from error


def _number(value: Any) -> Any:
    """Return whole numbers as floats, wherever they are: a class that takes a float makes one of them."""
    if isinstance(value, Mapping):
        return {name: _number(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else value


def _typed(name: str, value: Any, annotation: Any) -> Any:
    """Return the value as the annotated type takes it: an int may stand for a float, nothing else is converted."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value}: not a finite number")
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
