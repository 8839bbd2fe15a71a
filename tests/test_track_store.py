"""A sqlite store is made beside its place: a kill leaves nothing half made, and what is half is made anew."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from raynas.track.store import MlflowStore

TABLES = ("experiments", "runs", "alembic_version")


def tables(file: Path, *names: str) -> None:
    with closing(sqlite3.connect(file)) as database:
        for name in names:
            database.execute(f"CREATE TABLE {name} (id TEXT)")
            if name == "alembic_version":
                database.execute("INSERT INTO alembic_version VALUES ('head')")
        database.commit()


class Client:
    """Stands for MLflow's: makes the tables of a file that has none, and fails on half of them."""

    interrupted = False
    made = 0

    def __init__(self, tracking_uri: str) -> None:
        file = Path(tracking_uri.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(file)) as database:
            there = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if there and there != set(TABLES):
            raise RuntimeError("table experiments already exists")
        if not there:
            Client.made += 1
            tables(file, *TABLES[: 1 if Client.interrupted else 3])
        if Client.interrupted:
            raise KeyboardInterrupt

    def search_experiments(self, max_results: int) -> list[str]:
        return []


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr("mlflow.MlflowClient", Client)
    monkeypatch.setattr(Client, "interrupted", False)
    monkeypatch.setattr(Client, "made", 0)
    return tmp_path / "mlflow.db"


def names(file: Path) -> set[str]:
    return {path.name for path in file.parent.iterdir()} - {".mlflow.db.lock"}


def test_an_interrupt_leaves_nothing_half_made(file, monkeypatch):
    monkeypatch.setattr(Client, "interrupted", True)
    with pytest.raises(KeyboardInterrupt):
        MlflowStore(f"sqlite:///{file}")
    assert names(file) == set()
    monkeypatch.setattr(Client, "interrupted", False)
    MlflowStore(f"sqlite:///{file}")
    assert names(file) == {"mlflow.db"}


@pytest.mark.parametrize("there", [TABLES[:1], TABLES[:2], ()])
def test_a_half_made_store_is_set_aside_and_made_again(file, there):
    tables(file, *there)
    MlflowStore(f"sqlite:///{file}")
    assert names(file) == {"mlflow.db", "mlflow.db.half-made"}


def test_a_whole_store_stays_with_or_without_runs(file):
    MlflowStore(f"sqlite:///{file}")
    before = file.read_bytes()
    MlflowStore(f"sqlite:///{file}")
    assert (names(file), file.read_bytes()) == ({"mlflow.db"}, before)
    with closing(sqlite3.connect(file)) as database:
        database.execute("INSERT INTO runs VALUES ('one')")
        database.execute("CREATE TABLE another (id TEXT)")
        database.commit()
    with pytest.raises(
        RuntimeError
    ):  # another version's: its runs are the user's, and MLflow says what to do
        MlflowStore(f"sqlite:///{file}")
    assert names(file) == {"mlflow.db"}
    assert Client.made == 2


def test_what_is_no_database_is_left_to_mlflow(file):
    file.write_text("no database\n" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        MlflowStore(f"sqlite:///{file}")
    assert names(file) == {"mlflow.db"}
