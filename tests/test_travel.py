"""A sweep's folder under another path, without its owner's table, data and store: everything as before."""

import json
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_folders import IDS, make_sweep, play, raynas
from helpers.simulated_sweep import LAST, simulate
from PIL import Image

from raynas.cli.verbs.evaluate import _here
from raynas.config import DataConfig
from raynas.data.load import load_data
from raynas.errors import RaynasError
from raynas.launch.driver import load_recorded
from raynas.launch.runner import _class_names
from raynas.report.build import build_report
from raynas.report.facts import Facts, gather, ranking
from raynas.report.provenance import provenance
from raynas.spaces.reading import genotype_to_text
from raynas.sweep import bundle as bundling
from raynas.sweep.bundle import bundle, unbundle
from raynas.sweep.cells import searched_data
from raynas.sweep.folder import SweepFolder
from raynas.sweep.identity import anew
from raynas.sweep.places import PlacesHere
from raynas.train.config import TrainData

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    """A simulated sweep whose table selects, its report written; its store is in a folder of its owner."""
    monkeypatch.chdir(tmp_path)
    folder = simulate(tmp_path / "owner" / "runs" / "robust", "nas-bench-201")
    cells = sorted({genotype_to_text(r.genotype) for record in folder.records() for r in record.reports})
    rows = [f"{cell},{60 + place},{90 - place}" for place, cell in enumerate(cells)]
    table = tmp_path / "owner" / "table.csv"
    table.write_text("\n".join(["arch,cifar10_test_200,cifar10_val_200", *rows]), encoding="utf-8")
    data = json.loads((folder.path / "sweep.json").read_text())
    data["select"]["by"] = "table"
    data["benchmark"] = {"table": str(table), "data": "cifar10"}
    data["track"]["mlflow"] = f"sqlite:///{tmp_path}/owner/mlflow.db"
    (folder.path / "sweep.json").write_text(json.dumps(data))
    folder = SweepFolder(folder.path)
    looked_up(folder)
    return folder


def looked_up(folder: SweepFolder) -> Facts:
    """What the report states, its values kept as building one keeps them."""
    facts = gather(folder)
    assert folder.lookups is not None
    folder.lookups.save()
    return facts


def pages(folder: SweepFolder) -> dict[str, bytes]:
    files = (path for path in folder.path.rglob("*") if path.suffix in {".html", ".md", ".svg", ".json"})
    return {str(path.relative_to(folder.path)): path.read_bytes() for path in files}


def moved(folder: SweepFolder, to: Path) -> SweepFolder:
    """The folder on another machine: nothing else of its owner is there."""
    shutil.move(folder.path, to / folder.name)
    shutil.rmtree(folder.path.parents[1])
    return SweepFolder(to / folder.name)


def test_the_pages_are_the_same_elsewhere(owner: SweepFolder, tmp_path: Path, capsys: Capture) -> None:
    build_report(owner)
    before, told = pages(owner), raynas(capsys, "select", str(owner.path), "--json").out
    assert b"regret / %" in before["report.md"]
    (tmp_path / "mine").mkdir()
    folder = moved(owner, tmp_path / "mine")
    runs = ["--runs", str(folder.path.parent)]
    assert raynas(capsys, "report", "robust", *runs).code == 0
    assert pages(folder) == before
    assert raynas(capsys, "select", "robust", "--json", *runs).out == told
    assert json.loads(raynas(capsys, "status", "robust", "--json", *runs).out)["best"]["value"] is not None
    assert raynas(capsys, "draw", "robust", *runs).code == 0
    assert raynas(capsys, "draw", "robust", *runs).err == ""


def test_an_ended_trial_s_cells_are_kept_at_once(owner: SweepFolder) -> None:
    """Before any report: a driver that was killed leaves what it has looked up."""
    from raynas.cli.observers import ReportWriter

    (owner.path / "table.json").unlink()
    writer = ReportWriter()
    folder = SweepFolder(owner.path)
    writer.on_start(folder)
    record = next(record for record in folder.records() if record.status == "finished")
    writer.on_trial(record)
    assert len(json.loads((owner.path / "table.json").read_text())["cells"]) == len(
        {report.genotype for report in record.reports}
    )


def test_what_was_looked_up_stays_whatever_becomes_of_the_table(owner: SweepFolder) -> None:
    table = Path(json.loads((owner.path / "sweep.json").read_text())["benchmark"]["table"])
    before = [row.values for row in ranking(gather(owner))]
    table.write_text(table.read_text().replace("90", "11"), encoding="utf-8")
    assert [row.values for row in ranking(gather(SweepFolder(owner.path)))] == before
    cells = json.loads((owner.path / "table.json").read_text())
    cells["cells"].pop(next(iter(cells["cells"])))
    (owner.path / "table.json").write_text(json.dumps(cells))
    folder = SweepFolder(owner.path)
    lookups = folder.lookups
    assert lookups is not None
    with pytest.raises(RaynasError, match="not the one in which the sweep's cells were looked up"):
        [lookups.open().accuracy(r.genotype) for record in folder.records() for r in record.reports]
    assert "1 cell could not be looked up" in gather(SweepFolder(owner.path)).no_yardstick


def test_a_damaged_file_of_lookups_is_told_and_set_aside(owner: SweepFolder) -> None:
    (owner.path / "table.json").write_text("{")
    folder = SweepFolder(owner.path)
    assert any("table.json cannot be read" in line for line in folder.damage())
    looked_up(folder)
    assert list(owner.path.glob("table-damaged-1.json"))
    assert SweepFolder(owner.path).damage() == []


def test_a_store_of_another_machine_is_not_made_anew(
    owner: SweepFolder, tmp_path: Path, capsys: Capture
) -> None:
    folder = moved(owner, tmp_path)
    for verb in ("ui", "track"):
        outcome = raynas(capsys, verb, "robust", "--runs", str(tmp_path))
        assert outcome.code == 2
        assert "is not here" in outcome.err
        assert f"raynas {verb} robust --runs {tmp_path} --mlflow" in outcome.err
    assert not (tmp_path / "owner").exists()
    from raynas.track import trackers_for

    assert trackers_for(folder) == []


def test_another_store_is_filled_without_the_table(
    owner: SweepFolder, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raynas.track import mlflow

    folder = moved(owner, tmp_path)
    accuracies: list[float | None] = []

    def replay(folder: SweepFolder, uri: str) -> mlflow.Replayed:
        assert uri == f"sqlite:///{tmp_path}/mine.db"
        assert folder.lookups is not None
        yardstick = folder.lookups.open({trial.space() for trial in folder.trials()})
        accuracies.extend(yardstick.regret(r.genotype) for record in folder.records() for r in record.reports)
        return mlflow.Replayed(runs=1, epochs=2)

    monkeypatch.setattr(mlflow, "replay", replay)
    runs = ["--runs", str(folder.path.parent)]
    assert raynas(capsys, "track", "robust", "--mlflow", "sqlite:///mine.db", *runs).err == ""
    assert accuracies
    assert None not in accuracies


def test_a_folder_that_was_copied_in_part_is_told(owner: SweepFolder, capsys: Capture) -> None:
    first, second, *_ = (record for record in owner.records() if record.status == "finished")
    for record in (first, second):
        assert record.deciding is not None
        record.deciding.genotype.save(owner.path / "trials" / record.id / "genotype.json")
    assert SweepFolder(owner.path).damage() == []
    owner.trial(first.id).spool.path.unlink()
    shutil.rmtree(owner.path / "trials" / second.id)
    told = raynas(capsys, "status", str(owner.path)).out
    assert f"damaged: {first.id}: events.jsonl is missing, though the search has ended" in told
    assert f"damaged: {second.id}: a trial's configuration is missing" in told


# Bundles


def test_a_bundle_unfolds_to_the_same_pages(owner: SweepFolder, tmp_path: Path, capsys: Capture) -> None:
    (owner.path / "trials" / next(iter(LAST)) / "checkpoint.pt").write_bytes(b"much")
    (owner.path / ".mlflow").write_text("secret")
    (owner.path / "places.json").write_text("{}")
    before = pages(owner)
    outcome = raynas(capsys, "bundle", str(owner.path))
    assert (outcome.code, outcome.err) == (0, "")
    assert "left out: 1 checkpoint" in outcome.out
    shutil.rmtree(tmp_path / "owner")
    assert raynas(capsys, "unbundle", "robust.zip", "--runs", "mine").code == 0
    folder = SweepFolder(tmp_path / "mine" / "robust")
    before.pop("places.json")
    assert pages(folder) == before
    assert not any((folder.path / name).exists() for name in (".mlflow", "places.json"))
    assert not list(folder.path.rglob("checkpoint.pt"))
    again = raynas(capsys, "unbundle", "robust.zip", "--runs", "mine")
    assert "already; nothing was written" in again.err


def test_checkpoints_come_along_when_asked(owner: SweepFolder, tmp_path: Path) -> None:
    state = Path("trials") / next(iter(LAST)) / "checkpoint.pt"
    (owner.path / state).write_bytes(b"much")
    assert bundle(owner, tmp_path / "all.zip", checkpoints=True) == []
    assert (unbundle(tmp_path / "all.zip", tmp_path / "mine").path / state).read_bytes() == b"much"
    with pytest.raises(RaynasError, match="a file of that name already"):
        bundle(owner, tmp_path / "all.zip")


def test_a_bundle_that_came_in_part_is_told(owner: SweepFolder, tmp_path: Path) -> None:
    file = tmp_path / "robust.zip"
    bundle(owner, file)
    whole = file.read_bytes()
    middle = len(whole) // 2
    for data in (b"", whole[:middle], whole[:400] + bytes(200) + whole[600:]):
        file.write_bytes(data)
        with pytest.raises(RaynasError, match="not a whole bundle"):
            unbundle(file, tmp_path / "mine")
        assert not list((tmp_path / "mine").glob("*"))
    with pytest.raises(RaynasError, match="no such file"):
        unbundle(tmp_path / "none.zip", tmp_path / "mine")


@pytest.mark.parametrize(
    "inside",
    ["../evil", "/evil", "four/../../evil", "four\\evil", "C:/evil", "four/.mlflow", "four/SWEEP.JSON"],
)
def test_no_bundle_leads_outside(inside: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("four/sweep.json", "{}")
        file.writestr(inside, "evil")
    with pytest.raises(RaynasError, match="nothing was written"):
        unbundle(tmp_path / "evil.zip", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_no_bundle_holds_a_link_or_more_than_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = zipfile.ZipInfo("four/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        file.writestr("four/sweep.json", "{}")
        file.writestr(link, "/etc/passwd")
    with pytest.raises(RaynasError, match="a link or device"):
        unbundle(tmp_path / "link.zip", tmp_path)
    for most in ("MOST_FILES", "MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(bundling, most, 1)
            with pytest.raises(RaynasError, match="larger than any sweep"):
                unbundle(tmp_path / "link.zip", tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("four/notes.txt", "no sweep")
    with pytest.raises(RaynasError, match="not a whole bundle"):
        unbundle(tmp_path / "other.zip", tmp_path)


# Places


def images(folder: Path, tone: int) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.full((8, 8, 3), tone + number, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def on_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    """A sweep on images that has started; they have gone since."""
    monkeypatch.chdir(tmp_path)
    path = images(tmp_path / "there", 10)
    folder = make_sweep(tmp_path / "runs", [f"data={{name: folder, path: {path}}}"])
    play(folder, IDS[0], [0.9])
    spool = folder.trial(IDS[1]).spool
    found = load_data(DataConfig(name="folder", path=str(path))).fingerprint()
    spool.append("start", trial=IDS[1], attempt=1, data={"hash": found})
    folder.trial(IDS[0]).spool.path.unlink()
    path.rename(tmp_path / "here")
    return SweepFolder(folder.path)


def test_data_are_read_from_where_they_are_now(on_images: SweepFolder, tmp_path: Path) -> None:
    config = on_images.sweep().trials[0].config
    assert config is not None
    with pytest.raises(RaynasError, match="not at their place") as missing:
        load_recorded(on_images, config.data)
    assert "raynas resume four data.path=PLACE" in str(missing.value)
    planned = on_images.sweep()
    places = on_images.places.with_(["data.path=here"], [config.data.path], table=False)
    places.save(on_images.path)
    assert load_recorded(on_images, config.data).class_names == ("cat", "dog")  # type: ignore[union-attr]
    assert SweepFolder(on_images.path).sweep() == planned, "no configuration changes"


def test_trainings_read_data_from_where_their_searches_have_them(on_images: SweepFolder) -> None:
    """Those that are planned after the folder was moved, and those planned before it."""
    config, record = on_images.sweep().trials[0].config, on_images.records()[0]
    assert config is not None
    here = str(Path("here").absolute())
    on_images.places.with_(["data.path=here"], [config.data.path], table=False).save(on_images.path)
    assert searched_data(on_images, record)["path"] == here
    trained_on = TrainData(name="folder", path=config.data.path)
    assert _here(on_images.trial(IDS[0]).network, trained_on).path == here
    below = SweepFolder(on_images.path / "trained" / "quick")
    below.path.mkdir(parents=True)
    assert below.places.of(config.data).path == here
    PlacesHere(data={str(config.data.path): "/elsewhere"}).save(below.path)
    assert below.places.of(config.data).path == "/elsewhere"


def test_other_data_at_the_place_are_refused(on_images: SweepFolder, tmp_path: Path) -> None:
    config = on_images.sweep().trials[0].config
    assert config is not None
    other = images(tmp_path / "other", 90)
    on_images.places.with_([f"data.path={other}"], [config.data.path], table=False).save(on_images.path)
    with pytest.raises(RaynasError, match="not the data that the sweep was begun with"):
        load_recorded(on_images, config.data)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("epochs=5", "resume takes places only"),
        ("data.path", "resume takes places only"),
        ("data.pth=x", "nearest:  data.path"),
        ("data.path=nowhere", "nothing is there"),
        ("benchmark.table=runs", "the sweep has no table"),
        ("track.mlflow=file:///x", "not an MLflow tracking address"),
    ],
)
def test_resume_takes_places_only(word: str, told: str, on_images: SweepFolder, capsys: Capture) -> None:
    outcome = raynas(capsys, "resume", "four", word, "--local")
    assert outcome.code == 2
    assert told in outcome.err
    assert not (on_images.path / "places.json").exists()


def test_a_store_can_be_put_elsewhere_or_off(on_images: SweepFolder) -> None:
    places = PlacesHere().with_(["track.mlflow=sqlite:///x.db"], [], table=False)
    places.save(on_images.path)
    assert stat.S_IMODE((on_images.path / "places.json").stat().st_mode) == 0o600
    assert on_images.mlflow == f"sqlite:///{Path.cwd()}/x.db"
    places.with_(["track.mlflow=null"], [], table=False).save(on_images.path)
    assert on_images.mlflow is None
    (on_images.path / "places.json").write_text("[")
    with pytest.raises(RaynasError, match="places of a sweep cannot be read"):
        _ = on_images.places


def test_a_start_names_the_classes(owner: SweepFolder) -> None:
    names = _class_names(load_data(DataConfig(name="digits")))
    assert names == {"class_names": list("0123456789")}
    first = owner.records()[0]
    told = {**(first.start or {}), "data": {"hash": "feed", **names}}
    facts = replace(gather(owner), records=(replace(first, start=told),))
    assert provenance(facts)["class names"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"


def test_the_report_names_the_folder_s_own_file(owner: SweepFolder) -> None:
    sweep = replace(owner.sweep(), command="raynas sweep mine.yaml epochs=5 name=robust")
    assert anew(sweep, "sweep.yaml") == "raynas sweep sweep.yaml epochs=5 name=robust-2"
    assert provenance(replace(gather(owner), sweep=sweep))["begun with"] == sweep.command
