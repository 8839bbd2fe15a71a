"""The verbs that read and copy: what they print, their JSON, their exit codes, and what they refuse."""

import itertools
import json
import math
import subprocess
import sys
from concurrent import futures
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from helpers.cli_folders import FILE, IDS, environment, make_sweep, play, raynas, write_file

from raynas.launch.driver import only_driver
from raynas.spaces import skeletons
from raynas.spaces.library import load_space
from raynas.sweep.folder import SweepFolder

Capture = pytest.CaptureFixture[str]

VERBS = (
    *("ls", "show", "cp", "check", "search", "sweep", "resume"),
    *("status", "select", "report", "draw", "size", "lookup", "tabulate", "track", "ui"),
    *("export", "predict", "evaluate", "compare"),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def swept(here: Path) -> SweepFolder:
    """A sweep with two finished trials, one failed, one never started."""
    folder = make_sweep(here / "runs")
    play(folder, IDS[0], [0.9, 0.8, 0.7, 0.6], eigenvalues=[0.5, 0.5, 0.5, 0.9])
    play(folder, IDS[1], [0.9, 0.8, 0.7, 0.5])
    play(folder, IDS[2], [math.nan], status="failed", reason="OutOfMemoryError: no room")
    return folder


def parsed(capsys: Capture, *words: str) -> Any:
    outcome = raynas(capsys, *words, "--json")
    assert outcome.err == ""
    return json.loads(outcome.out, parse_constant=lambda name: pytest.fail(f"not strict JSON: {name}"))


def test_help_is_quick_and_loads_none_of_the_heavy_libraries() -> None:
    script = (
        "import sys, time; from raynas.cli.main import main\n"
        "light = 'pydantic' not in sys.modules\n"
        "main(['--help']); spent = time.process_time()\n"
        f"codes = [main([verb, '--help']) for verb in {VERBS!r}]\n"
        "print('found', light, spent < 1.0, *codes, *sorted({n.split('.')[0] for n in sys.modules}))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    found = done.stdout.splitlines()[-1].split()[1:]
    assert found[: 2 + len(VERBS)] == ["True", "True", *["0"] * len(VERBS)]
    heavy = {"torch", "torchvision", "ray", "mlflow", "matplotlib", "sklearn", "pandas", "optuna", "numpy"}
    assert not heavy & set(found)
    for verb in VERBS:
        assert f"raynas {verb} " in done.stdout


def test_the_module_runs_and_knows_its_version() -> None:
    command = [sys.executable, "-m", "raynas", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.strip() == version("raynas")


def test_a_mistyped_verb_is_told_the_nearest(capsys: Capture) -> None:
    outcome = raynas(capsys, "swep", "four.yaml")
    assert outcome.code == 2
    assert "Did you mean 'sweep'?" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (("ls", "spaecs"), "spaces"),
        (("show", "tinny"), "tiny"),
        (("show", "--kind", "method", "darst"), "darts"),
        (("cp", "tinny", "x"), "tiny"),
        (("check", "tinny"), "tiny"),
        (("status", "for"), "four"),
        (("select", "for"), "four"),
        (("report", "for"), "four"),
        (("draw", "for"), "four"),
        (("resume", "for"), "four"),
        (("sweep", "quikstart"), "quickstart"),
        (("search", "quikstart"), "quickstart"),
    ],
)
def test_a_mistyped_name_is_told_the_nearest(
    capsys: Capture, swept: SweepFolder, words: tuple[str, ...], nearest: str
) -> None:
    outcome = raynas(capsys, *words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert f"  nearest:  {nearest}" in outcome.err.splitlines()
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_debug_shows_the_traceback(capsys: Capture, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "environment":
        monkeypatch.setenv("RAYNAS_DEBUG", "1")
    outcome = raynas(capsys, *(["--debug"] if how == "option" else []), "show", "tinny")
    assert outcome.code == 2
    assert "Traceback" in outcome.err


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "raynas", "show", "tiny", "--kind", "space", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_ls_gives_an_overview(capsys: Capture, swept: SweepFolder) -> None:
    names = parsed(capsys, "ls")
    assert list(names) == [
        "spaces",
        "methods",
        "parts",
        "ops",
        "data",
        "cells",
        "recipes",
        "keys",
        "trials",
        "sweeps",
    ]
    assert {"darts", "tiny"} <= set(names["spaces"])
    assert names["sweeps"] == ["four"]
    shown = raynas(capsys, "ls").out.splitlines()
    assert len(shown) == len(names) + 3
    assert max(map(len, shown)) < 80  # a few names of each
    outcome = raynas(capsys, "ls")
    assert outcome.out.splitlines()[-1] == "next: raynas ls spaces"
    assert all(what in outcome.out for what in names)


@pytest.mark.parametrize("what", ["spaces", "methods", "ops", "data", "trials", "sweeps"])
def test_ls_lists_each_kind_under_the_names_of_the_overview(
    capsys: Capture, swept: SweepFolder, what: str
) -> None:
    rows = parsed(capsys, "ls", what)
    assert [row["name"] for row in rows] == parsed(capsys, "ls")[what]
    assert len({tuple(row) for row in rows}) == 1
    printed = raynas(capsys, "ls", what).out
    assert all(row["name"] in printed for row in rows)
    assert printed.splitlines()[-1].startswith("next: raynas ")


def test_ls_survives_what_is_broken(capsys: Capture, swept: SweepFolder, here: Path) -> None:
    (here / "search_spaces").mkdir()
    (here / "search_spaces" / "mine.yaml").write_text("name: mine\n")
    (here / "runs" / "broken").mkdir()
    (here / "runs" / "broken" / "sweep.json").write_text("{")
    spaces = {row["name"]: row["problems"] for row in parsed(capsys, "ls", "spaces")}
    assert spaces["tiny"] == ""
    assert spaces["mine"]
    sweeps = {row["name"]: row["state"] for row in parsed(capsys, "ls", "sweeps")}
    assert sweeps == {"four": "2 finished, 1 waiting, 1 failed", "broken": "a sweep cannot be read"}


def test_show_counts_the_architectures_of_a_space(capsys: Capture) -> None:
    facts = parsed(capsys, "show", "tiny")["space"]
    space = load_space("tiny")
    count = 1
    for cell in space.cells:
        arrows = [(e.source, e.target, op) for e in cell.edges for op in e.ops if op not in space.exclude]
        cells = itertools.combinations(arrows, space.keep * space.nodes)
        count *= sum(_is_cell(cell, space.nodes, space.keep) for cell in cells)
    assert facts["architectures"] == count
    # Liu et al. 2019, section 3.1: each cell has C(n,2)·7² choices a node, for n = 2 to 5.
    assert parsed(capsys, "show", "darts")["space"]["architectures"] == (1 * 3 * 6 * 10 * 7**8) ** 2


def _is_cell(arrows: tuple[tuple[int, int, str], ...], nodes: int, keep: int) -> bool:
    pairs = {(source, target) for source, target, _ in arrows}
    into = [sum(target == node for _, target in pairs) for node in range(2, 2 + nodes)]
    return len(pairs) == len(arrows) and into == [keep] * nodes


def test_show_gives_everything_of_a_shared_name_or_the_kind_asked_for(capsys: Capture) -> None:
    assert set(parsed(capsys, "show", "darts")) == {"space", "method"}
    assert set(parsed(capsys, "show", "darts", "--kind", "method")) == {"method"}
    printed = raynas(capsys, "show", "darts").out
    assert "1,076,746,950,455,072,400" in printed
    assert "the space darts" in printed
    assert "the method darts" in printed
    assert printed.splitlines()[-1] == "next: raynas show darts --kind space"
    assert "estimator" in printed


def test_show_prints_edges_and_yaml(capsys: Capture) -> None:
    printed = raynas(capsys, "show", "s1", "--kind", "space").out
    edge = load_space("s1").cell("normal").edges[0]
    assert f"  {edge.source}->{edge.target}  {', '.join(edge.ops)}" in printed
    assert "# " in printed
    assert printed.splitlines()[-1] == "next: raynas cp s1 my-s1.yaml"


def test_show_joins_what_a_node_reads_through_its_only_operation(capsys: Capture) -> None:
    printed = raynas(capsys, "show", "dso-nas", "--kind", "space").out.splitlines()
    assert "  0…4->5    sep3x3-bn-relu" in printed
    assert "  0->1      sep3x3-bn-relu" in printed


def test_show_names_the_spaces_that_use_an_operation(capsys: Capture) -> None:
    assert parsed(capsys, "show", "noise")["op"]["spaces"] == ["s4"]


def test_show_resolves_a_trial_file(capsys: Capture, here: Path) -> None:
    facts = parsed(capsys, "show", str(write_file(here)))["trial"]
    assert [trial["id"] for trial in facts["trials"]] == list(IDS)
    assert facts["trials"][1]["axes"] == {"weight_decay": 3e-4, "seed": 1}
    assert facts["resolved"]["epochs"] == 4
    printed = raynas(capsys, "show", "four.yaml").out
    assert all(trial in printed for trial in IDS)
    assert "learning_rate: 0.025" in printed


def test_show_measures_spaces_only_where_there_is_something_to_measure(capsys: Capture) -> None:
    outcome = raynas(capsys, "show", "digits", "--measure")
    assert outcome.code == 2
    assert "only spaces, methods and trial files can be measured" in outcome.err


def test_show_measures_a_method_beside_darts(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from raynas.search import measure

    asked = []

    def pretend(config: Any, other: Any, space: Any, *rest: Any) -> measure.Compared:
        asked.append((config.method, other.method, space.name, config.channels, config.cells, config.batch))
        return measure.Compared((0.3, 0.2), (150.0, 100.0), 81, 4.0)

    monkeypatch.setattr(measure, "compare", pretend)
    words = ("show", "darts-pt", "--measure", "--space", "s2", "--batch", "4")
    found = parsed(capsys, *words)["method"]["measured"]
    methods = [{"base": name, "stop": None} for name in ("darts-pt", "darts")]
    assert asked == [(*methods, "s2", 8, 3, 4)]
    assert (found["time"], found["memory"]) == pytest.approx((1.5, 1.5))
    # 81 epochs of 1.5 of DARTS', and decisions that take 20.
    assert found["more"] == pytest.approx(141.5)
    printed = raynas(capsys, *words).out
    assert (
        "1.50 × DARTS', first order (300 ms a step against 200 ms), plus 81 epochs of fine tuning" in printed
    )
    assert "1.50 × DARTS' (150 MiB against 100 MiB)" in printed
    assert "measured on" not in raynas(capsys, "show", "darts-pt").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pc-darts", "--measure", "--space", "nas-bench-201"), "pc-darts cannot search nas-bench-201"),
        (("drnas", "--space", "s2"), "--space: how large a method is measured"),
        (("tiny", "--measure", "--cells", "3", "--batch", "2"), "--cells, --batch: how large"),
        (("drnas", "--measure", "--space", "s22"), "nearest:  s2"),
    ],
)
def test_show_measures_no_method_in_vain(capsys: Capture, words: tuple[str, ...], said: str) -> None:
    outcome = raynas(capsys, "show", *words)
    assert outcome.code == 2
    assert said in outcome.err


def test_show_measures_each_size_of_search_once(
    capsys: Capture, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raynas.search import measure

    asked = []

    def pretend(config: Any, space: Any, shape: Any, classes: int, device: Any) -> measure.Measured:
        asked.append((config.method, space.name, shape, classes))
        return measure.Measured(1234, 0.0125, 56.0)

    monkeypatch.setattr(measure, "measure", pretend)
    # Processes of their own would not pretend.
    monkeypatch.setattr(
        futures, "ProcessPoolExecutor", lambda count, mp_context: futures.ThreadPoolExecutor(count)
    )
    write_file(here, FILE.replace("grid:", "grid:\n  method: [darts, darts-2nd]"))
    measured = parsed(capsys, "show", "four.yaml", "--measure")["trial"]["measured"]
    assert asked == [(method, "tiny", (1, 8, 8), 10) for method in ("darts", "darts-2nd")]
    assert [row["seconds_per_step"] for row in measured] == [0.0125, 0.0125]
    printed = raynas(capsys, "show", "four.yaml", "--measure").out
    assert "1,234 parameters" in printed
    assert "12.5 ms (darts-2nd on tiny, batch 64" in printed
    assert parsed(capsys, "show", "tiny", "--measure")["space"]["measured"]["peak_memory_mib"] == 56
    assert asked[-1] == ("darts", "tiny", (3, 32, 32), 10)


def test_show_of_a_sweep_is_its_status(capsys: Capture, swept: SweepFolder) -> None:
    assert parsed(capsys, "show", "four")["sweep"] == parsed(capsys, "status", "four")


def test_cp_copies_under_a_new_name_and_never_overwrites(capsys: Capture, here: Path) -> None:
    outcome = raynas(capsys, "cp", "tiny", "sub/mine")
    copy = here / "sub" / "mine.yaml"
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "next: raynas check sub/mine.yaml"
    mine, tiny = load_space(str(copy)), load_space("tiny")
    assert mine.name == "mine"
    assert skeletons.fingerprint(mine) == skeletons.fingerprint(tiny)
    assert copy.read_text().startswith("# ")
    copy.write_text("edited")
    again = raynas(capsys, "cp", "darts", "sub/mine.yaml")
    assert again.code == 2
    assert "is there already" in again.err
    assert copy.read_text() == "edited"


def test_cp_puts_a_trial_file_into_a_folder(capsys: Capture, here: Path) -> None:
    assert raynas(capsys, "cp", "quickstart", ".").code == 0
    assert "\nname: quickstart " in (here / "quickstart.yaml").read_text()
    assert raynas(capsys, "check", "quickstart.yaml").code == 0


def test_check_counts_the_searches(capsys: Capture, here: Path) -> None:
    write_file(here)
    outcome = raynas(capsys, "check", "four.yaml", "epochs=7")
    says = "the sweep four with 4 searches (2 weight_decay × 2 seed), 7 epochs each"
    says += "; selected by the validation loss, that of the mixture of all operations (darts); optimistic: "
    says += "chosen on the half that trains α (data.select=0.1 holds out a third part)"
    data = "digits: 1,438 training images in 10 classes, 359 test images that a search does not look at"
    next_step = "next: raynas sweep four.yaml epochs=7 --dry-run"
    # 1,438 images, half of them in batches of 64: 11 steps.
    steps = (
        "11 steps per epoch, 77 of α in all, at α rate 0.0003: α will hardly move (each by 0.023 at most; a "
    )
    steps += "published search's by 5.85). arch_learning_rate=0.03, more epochs, or a smaller batch"
    assert outcome.out.splitlines() == [f"ok: {says}", f"data: {data}", f"data: {steps}", next_step]
    assert "1 epoch each" in raynas(capsys, "check", "four.yaml", "epochs=1").out
    assert "1/3 epochs each" in raynas(capsys, "check", "four.yaml", "epochs=null", "grid.epochs=[3,1]").out
    outcome = raynas(capsys, "check", "four.yaml", "grid.method=[darts,gdas]")
    assert "their validation losses do not compare" in outcome.out
    assert raynas(capsys, "check", "four.yaml", "select.by=discrete_loss").out.count("selected by") == 0
    verdict = parsed(capsys, "check", "four.yaml", "epochs=7")
    facts = {
        "ok": True,
        "file": "four.yaml",
        "kind": "trial",
        "says": says,
        "data": [data, steps],
        "problems": [],
    }
    assert verdict == facts


def test_check_says_what_methods_learn_from_that_train_both_together(capsys: Capture, here: Path) -> None:
    write_file(here)
    says = raynas(capsys, "check", "four.yaml", "method=dsnas", "data.valid=0.1").out
    assert "dsnas: α and weights learn together from 90% of the data, the rest is held out" in says
    assert (
        "data.valid 0.1"
        in raynas(capsys, "sweep", "four.yaml", "method=dsnas", "data.valid=0.1", "--dry-run").out
    )
    assert "data.valid: 0.1" in raynas(capsys, "show", "dsnas").out
    assert "learn" not in raynas(capsys, "show", "darts").out


def test_check_names_every_problem_at_once(capsys: Capture, here: Path) -> None:
    write_file(here, FILE.replace("epochs: 4", "epoch: 4\nbatch: none"))
    outcome = raynas(capsys, "check", "four.yaml", "grid.sede=[1]")
    assert outcome.code == 2
    for said in ("four.yaml: 3 problems", "epoch: unknown key; here it is epochs", "batch:", "nearest: seed"):
        assert said in outcome.err
    verdict = parsed(capsys, "check", "four.yaml")
    assert not verdict["ok"]
    assert {problem["path"] for problem in verdict["problems"]} == {"epoch", "batch"}


def test_check_knows_a_space_from_a_trial_file(capsys: Capture, here: Path) -> None:
    assert "the search space s2 with 4 nodes" in raynas(capsys, "check", "s2").out
    raynas(capsys, "cp", "tiny", "mine")
    text = (here / "mine.yaml").read_text().replace("max_pool_3x3", "max_pol_3x3")
    (here / "mine.yaml").write_text(text)
    outcome = raynas(capsys, "check", "mine.yaml")
    assert outcome.code == 2
    assert "nearest: max_pool_3x3" in outcome.err


def test_status_tells_numbers_and_failures(capsys: Capture, swept: SweepFolder) -> None:
    facts = parsed(capsys, "status", "four")
    assert facts["state"] == "stopped"
    assert facts["counts"] == {"finished": 2, "stopped": 0, "waiting": 1, "failed": 1, "diverged": 0}
    assert facts["best"] == {"id": IDS[1], "value": 0.5}
    trials = {trial["id"]: trial for trial in facts["trials"]}
    assert trials[IDS[0]]["rising"]
    assert not trials[IDS[1]]["rising"]
    assert trials[IDS[2]]["valid_loss"] is None
    assert trials[IDS[3]]["status"] == "waiting"
    outcome = raynas(capsys, "status", "four")
    assert outcome.code == 0
    assert f"{IDS[2]} failed: OutOfMemoryError: no room  log: {swept.trial(IDS[2]).log}" in outcome.out
    assert outcome.out.splitlines()[-1] == "next: raynas resume four"


def test_status_knows_whether_the_sweep_is_driven(capsys: Capture, swept: SweepFolder) -> None:
    with only_driver(swept):
        facts = parsed(capsys, "status", "four")
    assert facts["state"] == "running"
    assert "process" in facts["driver"]
    assert parsed(capsys, "status", "four")["driver"] is None


def test_next_commands_look_in_the_same_folder(capsys: Capture, here: Path) -> None:
    make_sweep(here / "else where")
    outcome = raynas(capsys, "status", "four", "--runs", "else where")
    assert outcome.out.splitlines()[-1] == "next: raynas resume four --runs 'else where'"


def test_select_ranks_by_what_is_asked(capsys: Capture, swept: SweepFolder) -> None:
    selection = parsed(capsys, "select", "four")
    assert (selection["by"], selection["winner"]) == ("valid_loss", IDS[1])
    assert {row["trial"] for row in selection["left_out"]} == {IDS[2], IDS[3]}
    # Both end on the same discrete loss, so the earlier of the plan wins.
    selection = parsed(capsys, "select", "four", "--by", "discrete_loss")
    assert (selection["by"], selection["winner"]) == ("discrete_loss", IDS[0])
    printed = raynas(capsys, "select", "four").out
    assert f"winner: {IDS[1]}, valid_loss 0.5000" in printed
    assert f"left out: {IDS[2]}: failed: OutOfMemoryError: no room" in printed


def test_report_and_draw_write_files(capsys: Capture, swept: SweepFolder, here: Path) -> None:
    paths = parsed(capsys, "report", "four")
    assert all(Path(path).is_file() for path in paths.values())
    drawn = parsed(capsys, "draw", "four", "--to", "drawings")
    assert {Path(path).name for path in drawn["files"]} == {
        f"cell-{kind}.{suffix}" for kind in ("normal", "reduce") for suffix in ("svg", "png")
    }
    assert all(Path(path).parent == Path("drawings") and Path(path).stat().st_size for path in drawn["files"])
    best = swept.best / "genotype.json"
    assert parsed(capsys, "draw", str(best))["genotype"] == drawn["genotype"]
    assert raynas(capsys, "draw", str(best)).out.splitlines()[-1] == "next: raynas show tiny"
    best.write_text(best.read_text().replace('"tiny"', '"mine"'))
    assert raynas(capsys, "draw", str(best)).out.splitlines()[-1] == "next: raynas ls spaces"


def test_draw_reads_the_text_of_darts(capsys: Capture, here: Path) -> None:
    cell = "[('sep_conv_3x3', 0), ('skip_connect', 1), ('sep_conv_3x3', 2), ('max_pool_3x3', 0)]"
    text = f"Genotype(normal={cell}, normal_concat=range(2, 4), reduce={cell}, reduce_concat=range(2, 4))"
    (here / "cell.txt").write_text(text)
    assert parsed(capsys, "draw", "cell.txt")["genotype"]["space"] == "darts"
    assert (here / "cell-normal.svg").is_file()
    (here / "cell.txt").write_text(text.replace("range", "exec"))
    assert raynas(capsys, "draw", "cell.txt").code == 2
    assert raynas(capsys, "draw", "nothing.json").code == 2


def test_draw_reads_the_text_of_nas_bench_201(capsys: Capture, here: Path) -> None:
    (here / "cell.txt").write_text("|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|")
    assert parsed(capsys, "draw", "cell.txt")["genotype"]["space"] == "nas-bench-201"
    assert (here / "cell-normal.svg").is_file()
    (here / "cell.txt").write_text("|nor_conv_3x3~0|+|none~0|")
    assert "group 2" in raynas(capsys, "draw", "cell.txt").err


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("nas-bench-201", ["3, each keeping all edges", "15,625", "on each of 6 edges: none, skip_connect,"]),
        ("nb1shot1-1", ["4, keeping 1, 2, 2, 2, 2 edges", "14,580", "on each of 10 edges: maxpool3x3,"]),
    ],
)
def test_show_says_what_a_benchmarks_space_is(capsys: Capture, name: str, lines: list[str]) -> None:
    out = raynas(capsys, "show", name).out
    assert all(line in out for line in lines)


def test_a_sweep_without_a_finished_trial_has_no_cell_to_draw(capsys: Capture, here: Path) -> None:
    make_sweep(here / "runs")
    outcome = raynas(capsys, "draw", "four")
    assert outcome.code == 2
    assert "no trial finished" in outcome.err
