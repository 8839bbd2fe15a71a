"""What runs next: each trial once, and an optuna sweep that goes on after a kill as if nothing had been."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers.sweeping import create, run, sweep_of

from raynas.errors import FileProblems
from raynas.sweep.folder import SweepFolder
from raynas.sweep.plan import Distribution
from raynas.sweep.propose import Proposer, Suggestion, suggest

GRID = "name: small\nspace: tiny\ngrid: {weight_decay: [1e-4, 1e-3], seed: [0, 1]}\n"
OPTUNA = """
name: small
space: tiny
strategy: optuna
samples: 13
sample: {weight_decay: {log: [1e-5, 1e-1]}, batch: {int: [8, 64]}, momentum: {choice: [0.5, 0.9, 0]}}
grid: {method: [darts, darts-2nd], seed: [0, 1]}
"""


def handed_out(proposer: Proposer) -> list[str]:
    """Take all that a proposer has."""
    trials = []
    while pack := proposer.next():
        [trial] = pack
        trials.append(trial.id)
    return trials


def test_every_trial_once_in_plan_order(tmp_path: Path) -> None:
    folder = create(tmp_path, GRID)
    proposer = Proposer(folder)
    assert proposer.pending() == 4
    assert handed_out(proposer) == [trial.id for trial in folder.sweep().trials]
    assert (proposer.next(), proposer.pending()) == ([], 4)
    run(folder, "darts-wd0.0001-s1")
    proposer.tell("darts-wd0.0001-s1")
    assert proposer.pending() == 3


def test_what_has_ended_is_not_handed_out_again(tmp_path: Path) -> None:
    folder = create(tmp_path, GRID)
    first, second, third, fourth = (trial.id for trial in folder.sweep().trials)
    run(folder, first, status="finished")
    run(folder, second, status="diverged")
    run(folder, third, status="failed")
    folder.trial(fourth).spool.append("start", trial=fourth, attempt=1)
    proposer = Proposer(folder)
    assert proposer.pending() == 1
    assert handed_out(proposer) == [fourth]
    again = Proposer(folder, retry_failed=True)
    assert again.pending() == 2
    assert handed_out(again) == [third, fourth]
    run(folder, third, status="failed")
    again.tell(third)
    assert again.pending() == 1


def test_telling_of_a_trial_that_has_not_ended_changes_nothing(tmp_path: Path) -> None:
    folder = create(tmp_path, GRID)
    proposer = Proposer(folder)
    proposer.tell("darts-wd0.0001-s0")
    assert proposer.pending() == 4


def loss_of(folder: SweepFolder, trial_id: str) -> float:
    """Return a made-up loss: best at another weight decay for each method, a little worse with each seed."""
    config = folder.trial(trial_id).config()
    best = 1e-3 if config.method == "darts" else 1e-2
    return abs(config.weight_decay - best) * 100 + config.batch / 640 + config.seed / 10


def drive(
    folder: SweepFolder, proposer: Callable[[], Proposer], *, every: int
) -> list[tuple[str, float, int]]:
    """Run a whole sweep, one trial at a time, with a new driver after ``every`` trials."""
    seen = []
    current = proposer()
    count = 0
    while pack := current.next():
        [trial] = pack
        assert trial.config is not None
        seen.append((trial.id, trial.config.weight_decay, trial.config.batch))
        index = int(trial.id.split("try")[1].split("-")[0])
        status = (
            "failed" if index == 3 else "diverged" if index == 5 and trial.config.seed == 0 else "finished"
        )
        run(folder, trial.id, loss_of(folder, trial.id), status)
        current.tell(trial.id)
        count += 1
        if count % every == 0:
            current = proposer()
    assert current.pending() == 0
    return seen


def test_a_driver_killed_after_any_trial_goes_on_with_the_same_suggestions(tmp_path: Path) -> None:
    sequences = []
    for every in (1000, 1, 3):
        (tmp_path / str(every)).mkdir()
        folder = create(tmp_path / str(every), OPTUNA)
        sequences.append(drive(folder, lambda folder=folder: Proposer(folder), every=every))
    first, *others = sequences
    assert len(first) == 13 * 2 * 2
    assert len({wd for _, wd, _ in first}) > 13
    assert all(other == first for other in others)


def test_a_suggestion_is_the_same_for_all_seeds_and_written_before_it_is_handed_out(tmp_path: Path) -> None:
    folder = create(tmp_path, OPTUNA)
    assert folder.trials() == []
    [trial] = Proposer(folder).next()
    assert trial.id == "darts-try0-s0"
    assert [planned.id for planned in folder.trials()] == ["darts-try0-s0", "darts-try0-s1"]
    first, second = (planned.config() for planned in folder.trials())
    assert first == trial.config
    assert (first.seed, second.seed) == (0, 1)
    assert first.model_copy(update={"seed": 1}) == second
    assert folder.records()[1].axes == {"method": "darts", "seed": 1} | {
        key: getattr(first, key) for key in ("weight_decay", "batch", "momentum")
    }


def test_a_kill_between_the_seeds_files_is_mended(tmp_path: Path) -> None:
    folder = create(tmp_path, OPTUNA)
    trial = Proposer(folder).next()
    (folder.trial("darts-try0-s1").path / "trial.json").unlink()
    assert Proposer(folder).next() == trial
    assert (
        folder.trial("darts-try0-s1").config().weight_decay
        == folder.trial("darts-try0-s0").config().weight_decay
    )


def packs_of(proposer: Proposer, size: int) -> list[list[str]]:
    """Take all that a proposer has, in packs of at most ``size``."""
    packs = []
    while pack := proposer.next(lambda config: size):
        packs.append([trial.id for trial in pack])
    return packs


def test_packs_hold_trials_of_one_shape_dealt_out_evenly(tmp_path: Path) -> None:
    text = "name: small\nspace: tiny\ngrid: {batch: [8, 16], weight_decay: [1e-4, 1e-3], seed: [0, 1, 2]}\n"
    folder = create(tmp_path, text)
    ids = [trial.id for trial in folder.sweep().trials]
    assert packs_of(Proposer(folder), 4) == [ids[:3], ids[3:6], ids[6:9], ids[9:]]
    assert packs_of(Proposer(folder), 100) == [ids[:6], ids[6:]]
    assert packs_of(Proposer(folder), 1) == [[each] for each in ids]


def test_an_interrupted_pack_goes_on_in_the_same_company(tmp_path: Path) -> None:
    folder = create(tmp_path, GRID)
    first, second, third, fourth = (trial.id for trial in folder.sweep().trials)
    for each in (first, third, fourth):
        folder.trial(each).spool.append("start", trial=each, attempt=1, pack=[fourth, first, third])
    assert packs_of(Proposer(folder), 4) == [[fourth, first, third], [second]]
    run(folder, first, status="diverged")
    assert packs_of(Proposer(folder), 4) == [[second], [fourth, third]]


def test_seeds_of_a_suggestion_go_into_one_pack(tmp_path: Path) -> None:
    folder = create(tmp_path, OPTUNA)
    assert [trial.id for trial in Proposer(folder).next(lambda config: 8)] == [
        "darts-try0-s0", "darts-try0-s1",
    ]  # fmt: skip


def test_one_seed_that_is_not_zero_is_kept(tmp_path: Path) -> None:
    for text in (
        OPTUNA.replace("seed: [0, 1]", "seed: [3]"),
        OPTUNA.replace(", seed: [0, 1]", "") + "seed: 3\n",
    ):
        where = tmp_path / str(len(text))
        where.mkdir()
        [trial] = Proposer(create(where, text)).next()
        assert trial.config is not None
        assert (trial.id, trial.config.seed) == ("darts-try0-s3", 3)


def test_each_method_learns_from_its_own_trials_only(tmp_path: Path) -> None:
    """The first points, before TPE knows anything, are paired; then the methods part."""
    folder = create(tmp_path, OPTUNA)
    proposer = Proposer(folder)
    points: dict[str, list[float]] = {"darts": [], "darts-2nd": []}
    while pack := proposer.next():
        [trial] = pack
        assert trial.config is not None
        if trial.config.seed == 0:
            points[str(trial.config.method)].append(trial.config.weight_decay)
        near = 1e-4 if trial.config.method == "darts" else 1e-2
        run(folder, trial.id, abs(trial.config.weight_decay - near) * 100)
        proposer.tell(trial.id)
    assert points["darts"][:10] == points["darts-2nd"][:10]
    assert points["darts"][10:] != points["darts-2nd"][10:]


SAMPLE = {"x": Distribution("uniform", (0.0, 1.0)), "kind": Distribution("choice", (None, [1, 2], "a"))}


def history(values: list[float | None]) -> list[Suggestion]:
    """Return ended samples at even places with these values."""
    return [
        Suggestion({"x": (i + 0.5) / len(values), "kind": [1, 2]}, True, None if value is None else (value,))
        for i, value in enumerate(values)
    ]


def test_suggestions_keep_to_their_ranges_and_learn() -> None:
    past = history([abs(i - 30) / 10 for i in range(40)])
    points = [suggest(SAMPLE, past, index) for index in range(40, 60)]
    assert all(0 <= point["x"] <= 1 and point["kind"] in (None, [1, 2], "a") for point in points)
    close = sum(abs(point["x"] - 0.76) < 0.2 for point in points)
    assert close > 12, "20 uniform draws would put about 8 there"


def test_failed_and_running_samples_are_told_as_what_they_are() -> None:
    """TPE learns nothing from a failed sample, so with failures only it still draws at random."""
    failed = history([None] * 30)
    assert suggest(SAMPLE, failed, 7) == suggest(SAMPLE, [], 7)
    running = [Suggestion(sample.point, False, (0.0,)) for sample in history([0.0] * 30)]
    assert suggest(SAMPLE, [*history([1.0] * 20), *running], 50) != suggest(SAMPLE, history([1.0] * 20), 50)


@pytest.mark.parametrize("index", [0, 1, 12])
def test_the_same_past_gives_the_same_suggestion(index: int) -> None:
    past = history([0.1 * i for i in range(index)])
    assert suggest(SAMPLE, past, index) == suggest(SAMPLE, past, index)


SEVERAL = OPTUNA.replace(
    "momentum: {choice: [0.5, 0.9, 0]}", "objectives: [valid_loss, discrete_loss]"
).replace("method: [darts, darts-2nd], ", "")


def test_several_objectives_give_the_same_suggestions_after_any_kill(tmp_path: Path) -> None:
    sequences = []
    for every in (1000, 1):
        (tmp_path / str(every)).mkdir()
        folder = create(tmp_path / str(every), SEVERAL)
        assert folder.sweep().objectives == ("valid_loss", "discrete_loss")
        assert SweepFolder(folder.path).sweep().to_json() == folder.sweep().to_json()
        sequences.append(drive(folder, lambda folder=folder: Proposer(folder), every=every))
    echo = sweep_of(tmp_path, yaml.safe_dump(folder.sweep().resolved), name="echo.yaml")
    assert (echo.objectives, echo.resolved) == (folder.sweep().objectives, folder.sweep().resolved)
    assert sequences[0] == sequences[1]
    (tmp_path / "one").mkdir()
    one = create(tmp_path / "one", SEVERAL.replace(", objectives: [valid_loss, discrete_loss]", ""))
    alone = drive(one, lambda: Proposer(one), every=1000)
    assert alone[:20] == sequences[0][:20], "the first ten points are drawn before anything is learnt"
    assert alone != sequences[0]


def test_several_objectives_are_all_lowered() -> None:
    """Of two parabolas with minima at .3 and .5, all between is on the front; drawn blindly, a fifth is."""
    past = [
        Suggestion({"x": x, "kind": "a"}, True, ((x - 0.3) ** 2, (x - 0.5) ** 2))
        for x in [(place + 0.5) / 40 for place in range(40)]
    ]
    points = [suggest(SAMPLE, past, index, 2)["x"] for index in range(40, 60)]
    assert sum(0.28 <= x <= 0.52 for x in points) > 12


def test_a_sample_counts_where_every_objective_is_known(tmp_path: Path) -> None:
    text = SEVERAL.replace("discrete_loss]", "eig_max]")
    folder = create(tmp_path, text)
    run(folder, Proposer(folder).next()[0].id)  # whose curvature was not measured
    proposer = Proposer(folder)
    assert proposer._ended == {"darts-try0-s0": None}


@pytest.mark.parametrize(
    ("objectives", "told"),
    [
        ("[valid_loss, paramaters]", "nearest: parameters"),
        ("[valid_loss]", "two or more"),
        ("valid_loss", "two or more"),
        ("[valid_loss, valid_loss]", "listed twice"),
        ("[valid_loss, table]", "no `benchmark"),
        ("[valid_loss, eig_max]\nhessian: {every: 0}", "hessian: {every: 1}"),
        ("[valid_loss, 3]", "unknown objective 3"),
    ],
)
def test_objectives_that_cannot_be_meant_are_refused(tmp_path: Path, objectives: str, told: str) -> None:
    listed, _, more = objectives.partition("\n")
    text = SEVERAL.replace("[valid_loss, discrete_loss]", listed) + more
    with pytest.raises(FileProblems) as caught:
        sweep_of(tmp_path, text)
    assert any(p.path.startswith("sample.objectives") and told in p.message for p in caught.value.problems)


@pytest.mark.parametrize("strategy", ["nsga2", "NSGA-II"])
def test_nsga_is_refused_with_the_reason(tmp_path: Path, strategy: str) -> None:
    with pytest.raises(FileProblems, match="then draws at random"):
        sweep_of(tmp_path, SEVERAL.replace("strategy: optuna", f"strategy: {strategy}"))
    with pytest.raises(FileProblems, match="only strategy optuna lowers objectives"):
        sweep_of(tmp_path, SEVERAL.replace("strategy: optuna", "strategy: random-paired"))
