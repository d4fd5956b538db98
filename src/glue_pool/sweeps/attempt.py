"""What every launcher lets a process do: take a run's config through `glue_pool.train.run` and say how it ended."""

import logging
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from glue_pool import schema
from glue_pool.errors import Held, UserError


@dataclass(frozen=True)
class Ending:
    """How an attempt at a run ended.

    over: what there is to say is on disk, or in the message; held: another process works on the run;
    died: the process that worked on it is gone.
    """

    kind: Literal["over", "held", "died"]
    message: str | None = None


def attempt(config: Mapping[str, Any]) -> Ending:
    """Carry out a run, given its config as plain data; whatever it prints goes to stdout."""
    from glue_pool.train import run

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        run(schema.from_plain(config))
    except Held as error:
        return Ending("held", str(error))
    except UserError as error:
        return Ending("over", str(error))
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        return Ending("over", f"{type(error).__name__}: {error}")
    return Ending("over")
