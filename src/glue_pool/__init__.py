"""glue_pool: how an encoder's hidden states become one vector, compared fairly on GLUE and any other text task."""

from typing import TYPE_CHECKING

from glue_pool.saved import registration

if TYPE_CHECKING:
    from glue_pool.notebook import run
    from glue_pool.saved.folder import load

    __version__: str

registration.register()

__all__ = ["__version__", "load", "run"]


def __getattr__(name: str) -> object:
    """Import what is asked for then: the command line has to start without torch."""
    if name == "load":
        from glue_pool.saved.folder import load

        return load
    if name == "run":
        from glue_pool.notebook import run

        return run
    if name == "__version__":
        from importlib.metadata import version

        return version("glue-pool")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
