"""A report's page from its template, and the files of its pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from raynas.disk import disk_error, write_atomic
from raynas.errors import printable
from raynas.report import figures, text
from raynas.report.pictures import Picture


def _harmless(value: Any) -> Any:
    """Write out what a terminal would obey: `cat report.md` shows what a trial's records say."""
    return printable(value) if type(value) is str else value


def render(template: str, content: dict[str, Any]) -> str:
    """Return a report's page from its template and what that names."""
    environment = Environment(
        loader=PackageLoader("raynas.report"),
        # Markdown has escapes of its own: the filters `md` and `fence`.
        autoescape=select_autoescape(["html"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_harmless,
    )
    filters: dict[str, Callable[..., str]] = {
        "number": text.format_number,
        "difference": text.difference,
        "percent": text.percent,
        "spread": text.spread,
        "spread_percent": text.spread_percent,
        "spread_count": text.spread_count,
        "duration": text.duration,
        "moment": text.moment,
        "md": text.markdown,
        "fence": text.code_fence,
    }
    environment.filters.update(filters)
    style, _, _ = (
        environment.loader.get_source(environment, "report.css") if environment.loader else ("", "", "")
    )
    ground = {"light": figures.css_variables(dark=False), "dark": figures.css_variables(dark=True)}
    return environment.get_template(template).render(content, css=style, **ground)


def write_pictures(found: list[Picture], folder: Path) -> None:
    """Write pictures as SVG files, making their folder; nothing for none."""
    if not found:
        return
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    for picture in found:
        write_atomic(folder / f"{picture.name}.svg", figures.as_file(picture.svg).encode())
