"""glue_pool: how an encoder's hidden states become one vector, compared fairly on GLUE."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glue_pool.models.saved import load

__all__ = ["load"]


def __getattr__(name: str) -> object:
    """Import `load` when it is asked for: the command line has to start without torch."""
    if name == "load":
        from glue_pool.models.saved import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
