"""The page: a folder that opens from disk and needs no network. Its script draws everything from the payload."""

from collections.abc import Mapping
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

from glue_pool.results import write_bytes, write_text

INDEX = "index.html"
ASSETS = files("glue_pool.report").joinpath("assets")


def write(folder: Path, payload: Mapping[str, Any]) -> None:
    """Write index.html and what it refers to; raises OSError."""
    write_assets(folder)
    write_text(folder / INDEX, html(payload))


def write_assets(folder: Path) -> None:
    """Write what index.html refers to; raises OSError."""
    for name in ("report.css", "plots.js", "report.js"):
        write_bytes(folder / name, ASSETS.joinpath(name).read_bytes())
    write_bytes(folder / "plotly.min.js", _plotly().read_bytes())


def html(payload: Mapping[str, Any]) -> str:
    """Return the page; nothing in the payload can end the script element that holds it."""
    import jinja2

    env = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}  # in the payload's own order
    return env.from_string(ASSETS.joinpath(INDEX).read_text("utf-8")).render(payload=payload) + "\n"


def _plotly() -> Path:
    """Return Plotly's script, from its Python package, which itself is too slow to import."""
    return Path(str(distribution("plotly").locate_file("plotly/package_data/plotly.min.js")))
