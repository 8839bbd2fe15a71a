"""Numbers, times and foreign text as the report prints them."""

import math
import re
from datetime import UTC, datetime

from raynas.report.stats import Spread

MISSING = "–"


def format_number(value: float | None) -> str:
    """Print at least 4 significant digits, with fixed decimals so that columns line up; – for None."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    return (
        f"{value:.{_decimals(value)}f}".replace("-", "−")
        if _plain(value)
        else f"{value:.3e}".replace("-", "−")
    )


def difference(value: float | None, like: float) -> str:
    """Print a difference with the decimals of the numbers it is between."""
    if value is None or not _plain(like):
        return format_number(value)
    return f"{value:.{_decimals(like)}f}"


def percent(fraction: float | None) -> str:
    """Print a fraction of one in percent with two decimals; the sign is in the heading."""
    if fraction is None or not math.isfinite(fraction):
        return format_number(fraction)
    return f"{100 * fraction:.2f}"


RANKED_BY = {"table": "table error"}
"""What people call a rule's value, where the rule's own word is not enough."""


def ranked_number(value: float, by: str) -> str:
    """Print a value that trials are ranked by: the error in a table in percent, all else as it is."""
    return f"{percent(value)} %" if by == "table" else format_number(value)


def ranked_spread(value: Spread, by: str) -> str:
    """Print mean ± sd of values that trials are ranked by, as `ranked_number`."""
    return f"{spread_percent(value)} %" if by == "table" else spread(value)


def spread(value: Spread | None) -> str:
    """Print mean ± sd with the mean's decimals, and the mean alone when there is only one value."""
    if value is None:
        return MISSING
    return format_number(value.mean) + ("" if value.sd is None else f" ± {difference(value.sd, value.mean)}")


def spread_percent(value: Spread | None) -> str:
    """Print mean ± sd of fractions in percent with two decimals; the sign is in the heading."""
    return _spread(value, 100.0, 2)


def spread_count(value: Spread | None) -> str:
    """Print mean ± sd of small counts with one decimal."""
    return _spread(value, 1.0, 1)


def duration(seconds: float | None) -> str:
    """Print a duration in the two largest units that matter: ``4.2 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def moment(unix_seconds: float | None) -> str:
    """Print a moment in UTC to the second."""
    if unix_seconds is None:
        return MISSING
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def axis_value(value: object) -> str:
    """Print one value of a varied axis: floats in their shortest form, everything else as it is."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def markdown(text: object) -> str:
    """Escape text for a line or a table cell of Markdown, where foreign HTML and line breaks do harm too."""
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~$!])", r"\\\1", flat)


def code_fence(text: str) -> str:
    """Return a code fence longer than any run of backticks in ``text``."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


def slug(text: str) -> str:
    """Return a file-name-safe form of ``text``."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")[:60] or "unnamed"


def _spread(value: Spread | None, unit: float, decimals: int) -> str:
    if value is None:
        return MISSING
    sd = "" if value.sd is None else f" ± {unit * value.sd:.{decimals}f}"
    return f"{unit * value.mean:.{decimals}f}{sd}"


def _plain(value: float) -> bool:
    return value == 0 or 1e-3 <= abs(value) < 1e5


def _decimals(value: float) -> int:
    """Return the decimals of a fixed-point number: 4 from 0.1 to 10, elsewhere what keeps 4 or 5 digits."""
    size = abs(value)
    if 0.1 <= size < 10 or size == 0:
        return 4
    return min(6, max(1, 3 - math.floor(math.log10(size)) + (size >= 10)))
