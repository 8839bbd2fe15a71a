"""Where this machine has what a sweep reads and writes outside of its folder: `places.json`.

A folder that was copied to another machine names data, table and store by their places on the first one. What
is given instead says where, never what: no configuration changes, and no id.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from raynas.config import DataConfig
from raynas.data.catalogue import data_path
from raynas.disk import expanded, read_json, write_atomic
from raynas.errors import RaynasError, nearest, quoted
from raynas.sweep.file.uri import resolve_uri

KEYS = ("data.path", "benchmark.table", "track.mlflow")
"""What `raynas resume` may be told."""

FILE = "places.json"

NONE = "null"
"""The place of a store that is not wanted here."""


class PlacesHere(BaseModel):
    """Places on this machine, ``data`` by what configurations call them; what is left out is as recorded."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    data: dict[str, str] = {}
    table: str | None = None
    mlflow: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "PlacesHere":
        """Read a sweep's; raises `RaynasError` for a damaged file."""
        path = folder / FILE
        try:
            return cls.model_validate(read_json(path))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            why = "not as raynas writes it" if isinstance(error, ValidationError) else f"{error}"[:120]
            raise RaynasError(
                "the places of a sweep cannot be read",
                got=f"{path}: {why}",
                next_step="delete the file, and give the places again as resume takes them",
            ) from None

    def save(self, folder: Path) -> None:
        """Write them; a store's address may hold a password, so only its owner may read the file."""
        write_atomic(folder / FILE, (self.model_dump_json(indent=1) + "\n").encode(), mode=0o600)

    def of(self, config: DataConfig) -> DataConfig:
        """Return a configuration of data with the path that it has here."""
        here = self.data.get(config.path or "")
        return config if here is None else config.model_copy(update={"path": here})

    def over(self, others: "PlacesHere") -> "PlacesHere":
        """Return these, and of what they leave out the others."""
        return PlacesHere(
            data={**others.data, **self.data},
            table=self.table or others.table,
            mlflow=self.mlflow or others.mlflow,
        )

    def with_(self, words: Sequence[str], paths: Iterable[str | None], *, table: bool) -> "PlacesHere":
        """Return these with ``words`` as `data.path=DIR`; ``paths`` are those of the sweep's data sets.

        Raises `RaynasError` for a word that names no place, for a place where nothing is, and for one the
        sweep has no use for (``table``: whether it has a table).
        """
        new = {"data": dict(self.data), "table": self.table, "mlflow": self.mlflow}
        for word in words:
            key, equals, value = word.partition("=")
            if key not in KEYS or not equals or not value:
                raise RaynasError(
                    f"resume takes places only, not {quoted(word)}: a sweep's settings never change",
                    expected=" or ".join(f"{each}=PLACE" for each in KEYS),
                    near=nearest(key, KEYS),
                    next_step="for other settings begin another sweep: raynas sweep FILE KEY=VALUE",
                )
            match key:
                case "data.path":
                    new["data"] = {_only(paths): _there(key, value)}
                case "benchmark.table" if table:
                    new["table"] = _there(key, value)
                case "benchmark.table":
                    raise RaynasError("the sweep has no table", got=word)
                case _:
                    new["mlflow"] = NONE if value.lower() in (NONE, "none", "~") else resolve_uri(value)
        return PlacesHere.model_validate(new)


def _only(paths: Iterable[str | None]) -> str:
    known = sorted({path for path in paths if path is not None})
    if len(known) == 1:
        return known[0]
    raise RaynasError(
        "data.path cannot be given: the sweep's data sets have "
        + ("no path" if not known else f"{len(known)} places"),
        got=", ".join(known) or None,
        next_step=f"write them into {FILE} of the sweep's folder, as {{'data': {{THERE: HERE}}}}"
        if known
        else None,
    )


def _there(key: str, value: str) -> str:
    path = expanded(value).absolute()
    if not path.exists():
        raise RaynasError(f"{key}: nothing is there", got=path)
    return str(path)


def check_there(config: DataConfig, typed: str) -> None:
    """Raise `RaynasError` when a started sweep's data are not at their place."""
    if config.path is None or config.download or data_path(config).exists():
        return
    raise RaynasError(
        "the sweep's data are not at their place",
        got=config.path,
        expected=f"{config.name}, as the sweep was begun with",
        next_step=f"raynas resume {typed} data.path=PLACE",
    )
