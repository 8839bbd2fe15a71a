"""The scripts in .ci: making the environment (with a stand-in for Python), keeping a command on loopback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOOPBACK = ROOT / ".ci" / "loopback.py"

# Writes down how it is called; `-m venv` makes an environment whose python is this script again. A word of
# $FAILS that is among the arguments makes that call fail.
STAND_IN = """#!/usr/bin/env bash
echo "$*" >>"$LOG"
for word in $FAILS; do
    case " $* " in *" $word "*) exit 1 ;; esac
done
case "$*" in
    --version) echo "Python 3.99" ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
esac
"""


class Checkout:
    """A copy of the set-up scripts with a project file, in a folder whose name has a space."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        (self.root / ".ci").mkdir(parents=True)
        for name in ("setup", "install"):
            shutil.copy(ROOT / ".ci" / name, self.root / ".ci" / name)
        self.project = self.root / "pyproject.toml"
        self.project.write_text("first")
        self.python = folder / "python"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)
        self.log = folder / "log"

    def setup(self, fails: str = "", python: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run .ci/setup from another folder."""
        own = {"PYTHON": python or str(self.python), "LOG": str(self.log), "FAILS": fails}
        command = [str(self.root / ".ci" / "setup")]
        return subprocess.run(
            command, cwd="/", env=os.environ | own, capture_output=True, text=True, check=False
        )

    def installs(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line for line in lines if "--editable" in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_environment_is_made_once(checkout: Checkout):
    first = checkout.setup()
    assert first.returncode == 0, first.stderr
    assert "Python 3.99" in first.stdout
    (install,) = checkout.installs()
    assert install.startswith("-m uv pip install")
    assert install.endswith("--editable .[dev]")
    assert checkout.setup().stdout == ""
    assert checkout.installs() == []


def test_the_environment_is_made_anew_when_the_project_file_changes(checkout: Checkout):
    checkout.setup()
    checkout.installs()
    checkout.project.write_text("second")
    assert checkout.setup().returncode == 0
    assert len(checkout.installs()) == 1


def test_an_install_cut_short_is_started_afresh(checkout: Checkout):
    assert checkout.setup(fails="--editable").returncode != 0
    checkout.installs()
    assert checkout.setup().returncode == 0
    assert len(checkout.installs()) == 1


@pytest.mark.parametrize("missing", ["uv", "--python"])
def test_pip_installs_when_uv_cannot_be_had_or_fails(checkout: Checkout, missing: str):
    done = checkout.setup(fails=missing)
    assert done.returncode == 0
    assert "with pip instead" in done.stderr
    assert checkout.installs()[-1] == "-m pip install --editable .[dev]"


def test_a_machine_without_a_fitting_python_is_told_what_to_do(checkout: Checkout):
    done = checkout.setup(python="/no/such/python")
    assert done.returncode == 1
    assert "Python 3.11 or newer" in done.stderr
    assert "/no/such/python" in done.stderr
    assert "python3-venv" in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_help_lists_every_target():
    listed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    for target in phony.removeprefix(".PHONY:").split():
        assert f"make {target} " in listed


def test_loopback_is_the_only_network_of_a_command_run_by_root():
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a network namespace takes root on Linux")
    script = (
        "import socket; server = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(server.getsockname()); print(socket.if_nameindex())"
    )
    command = [sys.executable, str(LOOPBACK), sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "no network namespace" in done.stderr:
        pytest.skip("this machine gives root no network namespace")
    assert done.stdout.strip() == "[(1, 'lo')]", done.stderr


def test_loopback_runs_the_command_as_it_is_without_root():
    as_user = (
        "import os, runpy, sys; os.geteuid = lambda: 1000;"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [
        sys.executable,
        "-c",
        as_user,
        str(LOOPBACK),
        "bash",
        "-c",
        'echo "$@"; exit 3',
        "-",
        "a b",
        "c",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "a b c\n")
    assert "this machine's network" in done.stderr
