"""What another distribution brings through entry points: one of everything, sound and not."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.cli_folders import raynas
from helpers.outside import POINTS, install

from raynas.errors import RaynasError
from raynas.spaces import operations, outside, skeletons

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The distribution installed for this process, which works in its folder."""
    from raynas import track

    monkeypatch.chdir(install(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    outside.offered.cache_clear()
    for registry in (operations.OPERATIONS, operations.FAMILIES, skeletons.SKELETONS, track.TRACKERS):
        monkeypatch.setattr(registry, "_others", None)
    for name in ("outside", "outside_torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    outside.offered.cache_clear()


START = """
import json, sys
sys.path.insert(0, sys.argv[1])
from raynas.cli.main import main
for words in json.loads(sys.argv[2]):
    code = main(words)
    print("ended", code, flush=True)
"""


def run(folder: Path, *lines: str) -> tuple[list[str], str]:
    """Run verbs in one process in which the folder is installed; return what each printed, and the errors."""
    command = [sys.executable, "-c", START, str(folder), json.dumps([line.split() for line in lines])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return re.split(r"(?<=^ended \d\n)", done.stdout, flags=re.MULTILINE)[:-1], done.stderr


@pytest.mark.slow
def test_a_method_and_a_part_from_outside(tmp_path: Path) -> None:
    install(tmp_path)
    search = "search mine.yaml --trial flat-darts-s0 --device cpu"
    printed, errors = run(tmp_path, "ls methods --json", "show flat-darts", "check mine.yaml", search)
    assert [each.splitlines()[-1] for each in printed] == ["ended 0"] * 4, errors
    listed = json.loads(printed[0].removesuffix("ended 0\n"))
    assert any(row["name"] == "flat-darts" for row in listed)
    assert "flat(strength=0.5)" in printed[1]


def test_what_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    (install(tmp_path) / "outside.py").write_text("import nothing_of_this_name\n")
    printed, errors = run(tmp_path, "ls methods")
    assert printed == ["ended 2\n"]
    assert "flat-darts of outside (raynas.methods) cannot be loaded" in errors
    assert "fix or uninstall outside" in errors


def test_operations_a_skeleton_data_and_a_tracker_go_from_the_search_to_the_report(
    here: Path, capsys: Capture
) -> None:
    rows = json.loads(raynas(capsys, "ls", "ops", "--json").out)
    assert {"nor_conv_9x9", "ramp"} <= {row["name"] for row in rows}
    assert "stripes" in raynas(capsys, "ls", "data").out
    searched = raynas(capsys, "search", "mine.yaml", "grid.method=[darts]", "epochs=2", "--device", "cpu")
    assert searched.code == 0, searched.err
    assert "lines were written" in searched.out
    folder = here / "runs" / "mine-darts-s0"
    html, markdown = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for op in ("nor_conv_9x9", "ramp"):
        assert f"var(--op-{op}," in html
    assert "--op-ramp: #123456;" in html
    assert "best/cell-body.svg" in markdown
    assert "skips in the cell" in html
    lines = [json.loads(line) for line in (folder / "lines.jsonl").read_text().splitlines()]
    assert [line[0]["space"] for line in lines] == ["bodies"] * 2
    assert {"cell/skips_body", "cell/entropy_body", "loss/valid"} <= lines[-1][2].keys()
    status = raynas(capsys, "status", "mine-darts-s0")
    assert status.code == 0, status.err


def test_an_operation_of_a_family_from_outside_computes_the_same_in_both_forms(here: Path) -> None:
    from raynas.nets.ops.fused import Source, fused
    from raynas.nets.ops.lanes import Lanes, Pass, Statistics
    from raynas.nets.ops.paths import Path as Chosen
    from raynas.nets.ops.plain import plain

    assert not operations.OPERATIONS["ramp"].learns
    assert operations.OPERATIONS["nor_conv_9x9"].learns
    generators = [torch.Generator().manual_seed(0)]
    images = torch.randn(2, 4, 6, 6, generator=generators[0])
    for stride in (1, 2):
        wide = fused(Lanes(generators, torch.float32), "ramp", 1, 4, stride)
        source = Source(images, Pass(Statistics.BATCH, generators), 1)
        mixed = wide(source, torch.ones(4), Chosen(1))
        torch.testing.assert_close(mixed, plain("ramp", 4, stride, affine=False)(images))


def test_drawings_show_an_operation_of_a_known_family_in_a_colour_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line of the catalogue is all that it takes."""
    from raynas.report import figures
    from raynas.report.draw import draw_cell
    from raynas.spaces.genotype import Genotype
    from raynas.spaces.graph import Choice

    added = operations.Operation("sep_conv_9x9", "separable", "sep 9×9", "depthwise-separable 9×9", 9)
    monkeypatch.setattr(operations.OPERATIONS, "_others", {added.name: added})
    assert figures.operation_label(added.name) == "sep 9×9"
    svg = figures.share_panel("mix", [0, 1], {"sep_conv_3x3": [0.5] * 2, added.name: [0.5] * 2}, 1)
    assert "var(--op-sep_conv_9x9, " in svg
    for dark in (0, 1):
        mates = [op.name for op in operations.OPERATIONS.values() if op.family == "separable"]
        assert len({figures.operation_colours(name)[dark] for name in mates}) == 4
    cell = [Choice(added.name, 0, 2), Choice(added.name, 1, 2)]
    assert "sep 9×9" in draw_cell(Genotype.of("x", 1, {"normal": cell, "reduce": cell}), "normal")


@pytest.mark.parametrize(
    ("group", "point", "told"),
    [
        ("raynas.operations", "other = outside:CONV_9X9", "Operation named other"),
        ("raynas.operations", "body = outside:Body", "Operation named body"),
        ("raynas.families", "ramp = outside:RAMP", "Family named ramp"),
        ("raynas.skeletons", "bodies = outside:Body", "name = 'bodies'"),
        ("raynas.skeletons", "stripes = outside:stripes", "a subclass of"),
        ("raynas.trackers", "body = outside:Body", "a subclass of raynas.track.Tracker"),
        ("raynas.operations", "gone = outside:gone", "cannot be loaded"),
    ],
)
def test_what_does_not_fit_names_its_distribution(here: Path, group: str, point: str, told: str) -> None:
    from raynas.track import TRACKERS

    install(here, {group: point})
    registries = {
        "raynas.operations": operations.OPERATIONS,
        "raynas.families": operations.FAMILIES,
        "raynas.skeletons": skeletons.SKELETONS,
        "raynas.trackers": TRACKERS,
    }
    registry = registries[group]
    assert next(iter(registry)) in registry  # what is raynas' own needs no distribution
    with pytest.raises(RaynasError) as caught:
        list(registry)
    assert f"of outside ({group})" in str(caught.value)
    assert told in str(caught.value)
    assert "fix or uninstall outside" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("track.line=x", "track.line: unknown key; nearest: lines"),
        ("track.line=null", "track.line: unknown key; nearest: lines"),
        ("track.lines=http://me:secret@host", "holds a password"),
        ("track.mlflow=foo", "not an MLflow tracking address"),
    ],
)
def test_settings_of_trackers_are_checked_with_the_file(
    here: Path, capsys: Capture, override: str, told: str
) -> None:
    outcome = raynas(capsys, "sweep", "mine.yaml", "grid.method=[darts]", override)
    assert outcome.code == 2
    assert told in outcome.err
    assert "secret" not in outcome.err


def test_a_sweep_whose_tracker_is_gone_can_be_read_and_says_what_it_needs(
    here: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raynas.sweep.file.load import load_sweep
    from raynas.sweep.folder import SweepFolder
    from raynas.track import TRACKERS, trackers_for

    folder = SweepFolder(here / "runs" / "mine")
    folder.create(load_sweep(here / "mine.yaml", ["grid.method=[darts]"]), "")
    assert folder.sweep().track.wanted == {"lines": "lines.jsonl"}
    assert [type(tracker).__name__ for tracker in trackers_for(folder)] == ["Lines"]
    monkeypatch.setattr(TRACKERS, "_others", {})
    assert SweepFolder(folder.path).sweep().track.wanted == {"lines": "lines.jsonl"}
    with pytest.raises(RaynasError, match="unknown tracker 'lines'") as caught:
        trackers_for(folder)
    assert caught.value.next_step == "install the package that offers it, then resume"


def test_the_plan_of_a_sweep_without_other_trackers_is_written_as_ever() -> None:
    from raynas.sweep.sections import Track

    assert Track().model_dump(mode="json") == {"mlflow": "sqlite:///mlflow.db"}


JUDGED = """
from raynas.errors import RaynasError
from raynas.methods import reasons, resolve
from raynas.spaces.library import load_space

def told(base, use, space=None):
    method = resolve({"base": base, "relaxation": use})
    return [*reasons(method, space and load_space(space), {})]

for base in ("snas", "asap", "gdas", "sdarts-rs"):
    assert told(base, "twice") == [], told(base, "twice")
assert told("darts", "picky", "s1") == []
assert {"picky wants no chance", "picky wants a larger space"} <= {*told("snas", "picky", "tiny")}
try:
    resolve({"base": "darts", "estimator": "wrong"})
except RaynasError as error:
    assert "offers no part" in str(error) and "raynas.bilevel.slots.Estimator" in str(error), error
else:
    raise SystemExit("a relaxation passed for an estimator")
"""


@pytest.mark.slow
def test_a_part_from_outside_is_judged_by_its_own_words(tmp_path: Path) -> None:
    points = POINTS["raynas.parts"] + "\nestimator.wrong = outside:Twice"
    install(tmp_path, {**POINTS, "raynas.parts": points})
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}){JUDGED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
