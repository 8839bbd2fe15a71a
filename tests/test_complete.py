"""Completion in bash, zsh and fish, and what `--help` shows of each verb."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from helpers.cli_folders import environment

from raynas.cli import complete
from raynas.cli.main import app

ASK = """
import sys
from raynas.cli.main import main
code = main([])
print("loaded", *sorted({n.split(".")[0] for n in sys.modules} & {"torch", "ray", "mlflow", "numpy"}))
sys.exit(code)
"""
SHELLS = {
    "bash": lambda words: {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)},
    "zsh": lambda words: {"_TYPER_COMPLETE_ARGS": words},
    "fish": lambda words: {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a trial file and a damaged folder of sweeps."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("mine", "{"), ("other", "")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "sweep.json").write_text(text, encoding="utf-8")
    (tmp_path / "runs" / "nothing").mkdir()
    (tmp_path / "my-trial.yaml").write_text("no: [trial", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_sweeps_of_a_damaged_folder_without_torch(here: Path, shell: str) -> None:
    asked = {"_RAYNAS_COMPLETE": f"complete_{shell}", **SHELLS[shell]("raynas status ")}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        capture_output=True,
        text=True,
        env={**environment(), **asked},
        timeout=60,
    )
    assert "mine" in done.stdout, done.stderr
    assert "other" in done.stdout
    assert "nothing" not in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded"


def offered(completer: complete.Completer, typed: str, **given: object) -> list[str]:
    context = typer.Context(typer.main.get_command(app))  # type: ignore[attr-defined]
    context.params = given
    return completer(context, typed)


def test_names_of_each_kind_are_offered(here: Path) -> None:
    assert offered(complete.TRIALS, "qu") == ["quickstart"]
    assert offered(complete.TRIALS, "my-t") == ["my-trial.yaml"]
    assert {"gdas", "gdas-st"} <= set(offered(complete.ANYTHING, "gdas"))
    assert {"darts", "darts-rnn"} <= set(offered(complete.ANYTHING, "darts"))
    assert offered(complete.ANYTHING, "learning_rate_m") == ["learning_rate_min"]
    assert offered(complete.OVERRIDES, "grid.arch_l") == ["grid.arch_learning_rate="]
    assert offered(complete.OVERRIDES, "data.va") == ["data.valid="]
    assert offered(complete.SWEEPS, "", runs=here / "nowhere") == []
    assert offered(complete.RECIPES, "darts-c") == ["darts-cifar"]


def test_every_method_is_offered_though_none_is_imported(here: Path) -> None:
    from raynas.methods.recipes import ALL

    assert {method.name for method in ALL} <= set(offered(complete.ANYTHING, ""))


def test_completion_is_installed_by_a_word() -> None:
    command = [sys.executable, "-m", "raynas", "--show-completion", "bash"]
    env = {**environment(), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert "_RAYNAS_COMPLETE=complete_bash" in done.stdout, done.stderr


def test_every_verb_s_help_has_an_example() -> None:
    for name, verb in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"Example: raynas {name} " in (verb.help or ""), f"the docstring of {name} ends without one"
