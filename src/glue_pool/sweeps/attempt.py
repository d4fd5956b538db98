"""What every launcher lets a process do: take a run's config through `glue_pool.pipeline.run` and say how it ended."""

import logging
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from glue_pool import schema, shell
from glue_pool.errors import Held, TrainingFailed, UserError

LESS_MEMORY = "where memory ran out, twice train.accumulate takes less"


@dataclass(frozen=True)
class Ending:
    """How an attempt at a run ended.

    over: what there is to say is on disk, or in the message; held: another process works on the run;
    died: the process that worked on it is gone. spent: what went wrong may have left the process unfit for another run
    (a CUDA fault does).
    """

    kind: Literal["over", "held", "died"]
    message: str | None = None
    spent: bool = False


def attempt(config: Mapping[str, Any]) -> Ending:
    """Carry out a run, given its config as plain data; whatever it prints goes to stdout."""
    from glue_pool.pipeline import run

    shell.settle()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        run(schema.from_plain(config))
    except Held as error:
        return Ending("held", str(error))
    except UserError as error:
        return Ending("over", str(error))
    except Exception as error:
        with suppress(OSError):  # a full disk
            traceback.print_exc()
            sys.stderr.flush()
        return Ending("over", f"{type(error).__name__}: {error}", spent=not isinstance(error, TrainingFailed))
    return Ending("over")
