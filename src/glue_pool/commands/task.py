"""Write the YAML of a task of your own from its files."""

import shlex
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool.commands import Parser, path
from glue_pool.errors import UserError
from glue_pool.progress import print_table

if TYPE_CHECKING:
    from glue_pool.data.look import Guess, Seen
    from glue_pool.tasks import TaskConfig

SHOWN = 20  # labels


def main(argv: Sequence[str]) -> None:
    """Look at the files of a task, and write its YAML."""
    parser = Parser(prog="glue-pool task", description=__doc__)
    new = parser.add_subparsers(dest="action", required=True, metavar="new").add_parser(
        "new",
        help="look at files (csv, tsv, jsonl, parquet, arrow) and write my_conf/task/NAME.yaml",
        description="Look at a train file, and at a dev and a test file if there are any; say what is in them and "
        "write my_conf/task/NAME.yaml. What is guessed wrongly, an option says.",
    )
    new.add_argument("name", metavar="NAME", help="what the task is to be called: task=NAME")
    new.add_argument("files", nargs="+", metavar="FILE", help="TRAIN [DEV [TEST]]; a glob of shards stands in quotes")
    new.add_argument(
        "--text", nargs="+", action="extend", default=[], metavar="COLUMN", help="the text, or two; also '{a}: {b}'"
    )
    new.add_argument("--label", metavar="COLUMN", help="the label, or the score")
    new.add_argument("--kind", choices=["single", "multi", "regression"], help="one label a row, any number, a score")
    new.add_argument("--idx", metavar="COLUMN", help="the number that a row goes by in predictions")
    new.add_argument("--dev-share", type=float, metavar="SHARE", help="of the train rows, without DEV: 0.1")
    new.add_argument("--config-dir", "-cd", type=path, default=Path("my_conf"), help="where to: my_conf unless given")
    new.add_argument("--force", action="store_true", help="replace the YAML that is there")
    _new(parser.parse_args(argv))


def _new(args: Namespace) -> None:
    from glue_pool.data import look, task_file

    file: Path = args.config_dir / "task" / f"{args.name}.yaml"
    _check_free(args.name, file, force=args.force)
    if len(args.files) > 3:
        raise UserError(f"{args.files[3]}: a task has a train, a dev and a test file; shards are a glob in quotes")
    asked = look.Asked(args.text, args.label, args.kind, args.idx, args.dev_share)
    guess = look.guess(args.name, args.files, asked)
    text = task_file.text(guess.task)
    task = _composed(args.name, text)
    seen = look.count(guess.tables, task)
    _put(file, text)
    print_table([*_said(guess, task, seen), ("written", file), *_next(args)])


def _check_free(name: str, file: Path, *, force: bool) -> None:
    from glue_pool import choices
    from glue_pool.fields import check_name

    check_name("task.name", name)
    if (choices.CONF / "task" / f"{name}.yaml").exists():
        raise UserError(f"{name}: a task that comes with glue-pool; take another name")
    if file.exists() and not force:
        raise UserError(f"{file}: is there already; --force replaces it")


def _composed(name: str, text: str) -> "TaskConfig":
    """Return the task as `train` composes it, before it is put in place."""
    from glue_pool import commandline

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "task").mkdir()
        (Path(folder) / "task" / f"{name}.yaml").write_text(text, encoding="utf-8")
        try:
            (config,) = commandline.jobs(["--config-dir", folder, f"task={name}"])
        except UserError as error:
            said = str(error).replace(f"{folder}/task/", "")
            raise UserError(f"{name}: this task can't be used: {said}") from None
    return config.task


def _put(file: Path, text: str) -> None:
    begun = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        begun.write_text(text, encoding="utf-8")
        begun.replace(file)
    except OSError as error:
        raise UserError(f"{file}: can't be written ({error.strerror}); --config-dir names another folder") from None


def _said(guess: "Guess", task: "TaskConfig", seen: "Mapping[str, Seen]") -> Iterator[tuple[str, str]]:
    """Say what was found and guessed, and how to say otherwise."""
    from glue_pool.data.look import listed

    train, why = seen["train"], guess.reasons
    kind = "any number of labels a row" if task.multi_label else "one label a row" if task.labels else "score"
    yield "rows", ", ".join(f"{split.rows} {name}" for name, split in seen.items())
    yield "columns", ", ".join(name or "(no name)" for name in guess.tables[0].rows.column_names)
    yield "texts", f"{' and '.join(task.columns)}: {why['texts']} (--text COLUMN says otherwise)"
    yield "label", f"{task.label or 'none'}: {why['label']} (--label COLUMN says otherwise)"
    yield "kind", f"{kind}: {why['kind']} (--kind says otherwise)"
    if task.labels:
        yield "labels", "\n".join(_labels(task.labels, {name: split for name, split in seen.items() if split.labels}))
    if why["idx"]:
        yield "idx", f"{task.idx}: {why['idx']} (--idx COLUMN says otherwise)"
    yield "long texts", _shares(seen, "long", "have more than 128 words; train.max_length (128 tokens) cuts them")
    yield "empty texts", _shares(seen, "empty", "have an empty text")
    if others := {name: split for name, split in seen.items() if name != "train"}:
        yield "repeated", _shares(others, "repeated", "are in train, too")
    else:
        yield "repeated", _shares(seen, "repeated", "repeat another's texts; dev_share may part them")
    if absent := [name for name, rows in train.labels.items() if not rows]:
        yield "mind", f"no row of {train.entry} has {listed(absent)}"
    yield from (("mind", remark) for remark in guess.remarks)
    if not task.source.quotes:
        yield "mind", "quotes are read as part of the texts: as marks around them they do not pair"


def _shares(seen: "Mapping[str, Seen]", what: str, said: str) -> str:
    counts = {name: (getattr(split, what), split.rows) for name, split in seen.items()}
    some = [f"{n} of {rows} {name} rows ({100 * n / rows:.1f} %)" for name, (n, rows) in counts.items() if n]
    return f"{', '.join(some)} {said}" if some else "none"


def _labels(names: Sequence[str], seen: "Mapping[str, Seen]") -> Iterator[str]:
    width = max(map(len, names[:SHOWN]))
    for name in names[:SHOWN]:
        yield f"{name:{width}}" + "".join(f"  {of.labels[name]:6} {split}" for split, of in seen.items())
    if rest := names[SHOWN:]:
        of_train = seen["train"].labels
        rarest = min(names, key=of_train.__getitem__)
        yield f"and {len(rest)} more; the rarest is {rarest} ({of_train[rarest]} train)"


def _next(args: Namespace) -> Iterator[tuple[str, str]]:
    chosen = f"--config-dir {shlex.quote(str(args.config_dir))} task={args.name} encoder=minilm_l6"
    yield "train", f"glue-pool train {chosen}"
    yield "compare", f"glue-pool train -m {chosen} pooling=bert,mean,maxpool seed=1,2,3,4,5\nglue-pool report"
