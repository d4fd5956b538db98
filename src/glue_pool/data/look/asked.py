"""What of a task is said on the command line, and so not guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["single", "multi", "regression"]


@dataclass(frozen=True)
class Asked:
    """What is not to be guessed."""

    texts: Sequence[str] = ()
    label: str | None = None
    kind: Kind | None = None
    idx: str | None = None
    dev_share: float | None = None
