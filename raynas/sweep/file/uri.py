"""MLflow tracking addresses: made absolute, shown without passwords, and where their artifacts go."""

import re
from pathlib import Path

from raynas.disk import expanded
from raynas.errors import RaynasError, nearest

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SERVERS = ("http", "https", "databricks")
_SQLITE = "sqlite:///"
HIDDEN = ":***@"
_PASSWORD = re.compile(r"(://[^/@\s:]*):[^/\s]*@")
_QUERY = re.compile(r"([?&](?:password|passwd|pwd|token)=)[^&\s'\"]+", re.IGNORECASE)


def resolve_uri(uri: str) -> str:
    """Return the address as it is recorded: a relative sqlite file counts from the working directory.

    Raises `RaynasError` for what MLflow cannot use: its file store (in maintenance mode since 3.x, a plain
    path or ``file:``), a database in memory, or an unknown scheme.
    """
    if HIDDEN in uri:
        raise RaynasError(
            "the address has *** where its password was", got=uri, next_step="write the password"
        )
    scheme = uri.partition(":")[0].partition("+")[0].lower()
    if uri == "databricks":
        return uri
    if scheme not in (*_DATABASES, *_SERVERS) or "://" not in uri:
        raise RaynasError(
            "not an MLflow tracking address",
            got=shown(uri),
            expected="sqlite:///mlflow.db, http://host:port, or a database such as postgresql://…",
            near=nearest(scheme, (*_DATABASES, *_SERVERS)),
            next_step="set `track: {mlflow: sqlite:///mlflow.db}`, or `track: {mlflow: null}` for none",
        )
    if scheme != "sqlite":
        return uri.rstrip("/")
    name, _, query = uri.removeprefix(_SQLITE).partition("?")
    if not uri.startswith(_SQLITE) or not name or name == ":memory:":
        raise RaynasError("this sqlite address names no file", got=uri, expected="as sqlite:///mlflow.db")
    # `resolve` would follow links, and a linked run folder should keep the name its user gave it.
    path = Path.cwd() / expanded(name)
    return f"{_SQLITE}{path}{'?' + query if query else ''}"


def sqlite_file(uri: str) -> Path | None:
    """Return the database's file of a resolved sqlite address, and None for any other address."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0])


def homeless(uri: str) -> bool:
    """Tell whether a store is a file of a folder that is not here: it would be made anew, and empty."""
    file = sqlite_file(uri)
    return file is not None and not file.parent.is_dir()


def artifact_root(uri: str) -> Path | None:
    """Return where artifacts go when this process keeps them, and None when a server decides.

    Beside a sqlite file; in the working directory for other databases. MLflow's own default is a folder
    of whichever directory the client happens to run in.
    """
    if (file := sqlite_file(uri)) is not None:
        return file.parent / "mlartifacts"
    is_database = uri.partition(":")[0].partition("+")[0] in _DATABASES
    return Path.cwd() / "mlartifacts" if is_database else None


def shown(uri: str) -> str:
    """Return the address without its password: fit for messages and for files."""
    return without_passwords(uri)


def without_passwords(text: str) -> str:
    """Return a text in which the password of every address is `***`."""
    return _QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def reason(error: BaseException) -> str:
    """Return why a call failed in a few words; MLflow's own texts hold the request and several addresses."""
    text = " ".join((error.what if isinstance(error, RaynasError) else str(error)).split())
    if match := re.search(r"\[Errno -?\d+\] ([^'\"()]+)", text):
        return match[1].strip().lower()
    if "timed out" in text.lower():
        return "timed out"
    text = without_passwords(text)
    text = text if len(text) <= 160 else f"{text[:157]}…"
    return text if isinstance(error, RaynasError) else f"{type(error).__name__}: {text}"
