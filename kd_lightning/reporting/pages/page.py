"""The page: one HTML file that needs nothing else."""

import json
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kd_lightning import __version__
from kd_lightning.reporting.pages.content import Content
from kd_lightning.reporting.pages.run_page import run_page
from kd_lightning.reporting.pages.sweep_page import sweep_page
from kd_lightning.runs.collections.collection import Collection
from kd_lightning.runs.files import PAGE
from kd_lightning.runs.folder import sweep_of
from kd_lightning.runs.run import read_run
from kd_lightning.system.files import finite, write_text

TEMPLATES = files("kd_lightning.reporting") / "templates"
SCRIPTS = ("figures.js", "heatmap.js", "tables.js")


def page(runs: Collection) -> str:
    """One run's page, or that of several."""
    return render(run_page(runs.runs[0]) if len(runs.runs) == 1 and not runs.is_sweep else sweep_page(runs))


def write_run_page(folder: Path) -> None:
    """report.html in a finished run's folder; none for a job of a sweep, whose page shows it among the others."""
    if sweep_of(folder) is None:
        write_text(folder / PAGE, render(run_page(read_run(folder))))


def render(content: Content) -> str:
    environment = Environment(
        loader=PackageLoader("kd_lightning.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["json"] = as_json
    return environment.get_template("page.html.j2").render(
        title=content.title,
        subtitle=content.subtitle,
        cards=content.cards,
        sections=content.sections,
        notice=content.notice,
        footer=f"KD Lightning {__version__}, {datetime.now():%Y-%m-%d %H:%M}",
        style=resource("style.css"),
        plotly=Markup(get_plotlyjs()),
        scripts=Markup("\n").join(resource(name) for name in SCRIPTS),
    )


def resource(name: str) -> Markup:
    """A file of the templates as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def as_json(value: Any) -> Markup:
    """JSON that may stand inside of a script element; what is no number becomes null."""
    text = json.dumps(finite(value), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))
