"""The page: a folder that opens from disk and needs no network. Its script draws everything from the payload."""

from collections.abc import Mapping
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

from glue_pool.results import write_atomically, write_text

ASSETS = files("glue_pool.report").joinpath("assets")


def write(folder: Path, payload: Mapping[str, Any]) -> list[Path]:
    """Write index.html, which refers to the others, and return it and them; raises OSError."""
    parts = ["report.css", "plots.js", "report.js"]
    for name in parts:
        write_text(folder / name, ASSETS.joinpath(name).read_text("utf-8"))
    write_atomically(folder / "plotly.min.js", lambda file: file.write(_plotly().read_bytes()))
    write_text(folder / "index.html", html(payload))
    return [folder / name for name in ["index.html", *parts, "plotly.min.js"]]


def html(payload: Mapping[str, Any]) -> str:
    """Return the page; nothing in the payload can end the script element that holds it."""
    import jinja2

    env = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}  # in the payload's own order
    return env.from_string(ASSETS.joinpath("index.html").read_text("utf-8")).render(payload=payload) + "\n"


def _plotly() -> Path:
    """Return Plotly's script, from its Python package, which itself is too slow to import."""
    return Path(str(distribution("plotly").locate_file("plotly/package_data/plotly.min.js")))
