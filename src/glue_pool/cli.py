"""The console script `glue-pool`: which command, what its errors look like, and the help page.

A command is a file in `glue_pool/commands`, or in a folder `glue_pool_commands` that Python can import from (one's own,
as Hydra has `hydra_plugins`); nothing here names one.
"""

import ast
import importlib
import importlib.util
import os
import pkgutil
import select
import signal
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import InspectLoader
from typing import Protocol

from glue_pool import progress, shell
from glue_pool.errors import Failed, Held, Interrupted, TrainingFailed, UserError, nearest

EXIT_CODES: dict[type[Exception], int] = {
    UserError: 2,
    TrainingFailed: 1,
    Failed: 1,
    Held: 75,
}  # 75 is sysexits.h's "try again later"

PLACES = ("glue_pool.commands", "glue_pool_commands")  # a command of the first is not replaced by one of the second


class Command(Protocol):
    """What a command's file has."""

    def main(self, argv: Sequence[str]) -> None:
        """Carry out the command with the arguments that follow its name."""


PAGE = """\
glue-pool: how an encoder's hidden states become one vector, compared fairly.

usage: glue-pool COMMAND ...         glue-pool COMMAND --help tells more of one

commands
{commands}

examples
  glue-pool train experiment=offline
      a first run, two minutes: a packaged encoder, generated data, no network
  glue-pool train model=maxpool task=rte seed=3
      MaxPoolBERT on RTE; the same command again finds the result
  glue-pool train -m task=rte,mrpc pooling=cls,mean,max_cls seed=1,2,3
      a sweep of eighteen runs; with dry_run=true it only says what would run
  glue-pool task new reviews train.csv dev.csv
      your own task: looks at the files, writes my_conf/task/reviews.yaml
  glue-pool report
      what the runs so far show, and what they can't

Every key=value is a choice: `glue-pool list` shows the groups, `glue-pool list
pooling` what there is in one. Results go to outputs/ (output_root=FOLDER, or
GLUE_POOL_OUTPUTS), a folder a run: result.json has the score."""


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out a command line, without the program's name; ends the process as `guarded` says."""
    with guarded():
        name, *rest = list(sys.argv[1:] if argv is None else argv) or ["--help"]
        if name in ("-h", "--help"):
            print(PAGE.format(commands="\n".join(_entry(*command) for command in names().items())))
        elif name == "--version":
            from importlib import metadata

            print(f"glue-pool {metadata.version('glue-pool')}")
        else:
            _load(name).main(rest)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn what can end a command into a line on stderr and an exit code: 2 for what the user gave, 1 for what failed.

    Another process at work on a run is 75; a signal, Ctrl-C (130) among them, is 128 and its number. Where nobody reads
    stdout any more (`| head`) the command ends without a word. Anything else is a bug, and has its traceback.
    """
    try:
        shell.settle()
        yield
    except tuple(EXIT_CODES) as error:
        code = next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))
        _end(f"error: {error}" if str(error) else "", code)
    except Interrupted as stopped:
        _end(str(stopped), 128 + stopped.by)
    except KeyboardInterrupt:
        _end("interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:
        if not _nobody_reads():  # another pipe broke
            raise
    finally:
        lost = _flush()
    if lost:
        _end(f"error: not all that was printed could be written ({lost})", 1)


def names() -> dict[str, str]:
    """Return the commands there are, and the module of each; one's own replace none."""
    found: dict[str, str] = {}
    for package in PLACES:
        spec = importlib.util.find_spec(package)
        for module in pkgutil.iter_modules(spec.submodule_search_locations if spec else ()):
            if not module.name.startswith("_"):
                found.setdefault(module.name.replace("_", "-"), f"{package}.{module.name}")
    return dict(sorted(found.items()))


def sentence(module: str) -> str:
    """Return what a command does: the first line of its file, which is not imported for that."""
    spec = importlib.util.find_spec(module)
    assert spec
    assert isinstance(spec.loader, InspectLoader)
    try:
        said = ast.get_docstring(ast.parse(spec.loader.get_source(spec.name) or ""))
    except (SyntaxError, ImportError):
        return "(its file can't be read)"
    return (said or "(its file says nothing of it)").splitlines()[0]


def _entry(name: str, module: str) -> str:
    return textwrap.fill(sentence(module), 80, initial_indent=f"  {name:13} ", subsequent_indent=" " * 16)


def _load(name: str) -> Command:
    found = names()
    if name not in found:
        near, there = nearest(name, list(found)), ", ".join(found)
        raise UserError(f"{name}: no such command{near} (there are {there}; see glue-pool --help)")
    command: Command = importlib.import_module(found[name])
    if not hasattr(command, "main"):
        raise UserError(f"{name}: {found[name]} has no main(argv)")
    return command


def _end(line: str, code: int) -> None:
    if line:
        with suppress(OSError):  # nobody reads it
            print(line, file=sys.stderr, flush=True)
    sys.exit(code)


def _nobody_reads() -> bool:
    """Say whether stdout is a pipe whose other end is closed."""
    poll = select.poll()
    try:
        poll.register(sys.stdout, 0)
    except (OSError, TypeError, ValueError):  # no file at all
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _flush() -> str | None:
    """Write out what was printed, lest the end of the process complains; return why it can't, if that is news."""
    lost = progress.LOST.pop() if progress.LOST else None
    if sys.stdout is None:  # closed from the start
        return None
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left of it
        return None if isinstance(error, BrokenPipeError) else error.strerror
    return lost
