"""What a machine and a folder can hold is known before work starts: CPUs, sockets, addresses, secrets."""

import os
import socket
import stat

import pytest
from helpers.sweeping import create, sweep_of

from raynas.cli.main import main
from raynas.cli.output import table
from raynas.cpus import usable_cpus
from raynas.errors import RaynasError, printable
from raynas.sweep.file.uri import resolve_uri, without_passwords

TEXT = "name: small\nspace: tiny\ndata: {limit: 64}\ntrack: {mlflow: null}\n"


@pytest.mark.parametrize(
    ("files", "own", "cpus"),
    [
        ({"cpu.max": "max 100000"}, "0::/", float("inf")),
        ({"cpu.max": "50000 100000"}, "0::/", 0.5),
        ({"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", 1.5),
        ({"a/cpu.max": "300000 100000"}, "0::/b", float("inf")),
        ({"cpu/x/cpu.cfs_quota_us": "20000", "cpu/x/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/x", 0.2),
        (
            {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"},
            "4:cpu,cpuacct:/x",
            float("inf"),
        ),
    ],
)
def test_a_containers_quota_counts(tmp_path, files, own, cpus):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert usable_cpus(tmp_path, tmp_path / "own") == min(cpus, len(os.sched_getaffinity(0)))


def test_what_a_terminal_would_obey_is_written_out(capsys):
    assert printable("a\x1b[31mred\x07\x9b\u202e\tλ\n") == "a\\x1b[31mred\\x07\\x9b\\x202e\tλ\n"
    shown = table("trial")
    shown.add_row("\x1b]0;title\x07")
    assert list(shown.columns[0].cells) == ["\\x1b]0;title\\x07"]
    assert main(["check", "\x1b[31m.yaml"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_no_record_shows_an_escape_sequence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = create(tmp_path, TEXT)
    [trial] = folder.trials()
    trial.spool.append("start", attempt=1, epochs=3)
    trial.spool.append("error", message="\x1b[31mred", kind_of_error="user", attempt=1)
    trial.spool.append("end", status="failed", reason="\x1b[31mred")
    for verb in (["status", "small"], ["select", "small"], ["show", "small"], ["report", "small"]):
        assert main(verb) == 0
        assert "\x1b" not in capsys.readouterr().out
    assert b"\x1b" not in (folder.path / "report.md").read_bytes()


def test_the_trials_of_a_stopped_sweep_are_not_running(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    folder = create(tmp_path, TEXT)
    [trial] = folder.trials()
    trial.spool.append("start", attempt=1)
    assert main(["status", "small"]) == 0
    out = capsys.readouterr().out
    assert "small: stopped; 1 planned: 1 stopped" in out
    assert trial.id in out


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:pw@host:5000", "http://user:***@host:5000"),
        ("see http://user:p@ss@host/x now", "see http://user:***@host/x now"),
        ("postgresql://u:pw@h/db?sslmode=on", "postgresql://u:***@h/db?sslmode=on"),
        ("postgresql://h/db?user=u&password=pw&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_a_password_is_hidden_wherever_it_stands(address, shown):
    assert without_passwords(address) == shown


def test_a_password_lies_in_a_file_of_its_owner_alone(tmp_path):
    address = "http://user:secret-word@127.0.0.1:9"
    text = f"name: small\nspace: tiny\ntrack: {{mlflow: '{address}'}}\n"
    folder = create(tmp_path, text, f"track.mlflow={address}")
    assert folder.mlflow == address
    holding = [
        path for path in folder.path.rglob("*") if path.is_file() and b"secret-word" in path.read_bytes()
    ]
    [secret] = holding
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.unlink()
    with pytest.raises(RaynasError, match="password"):
        _ = folder.mlflow
    with pytest.raises(RaynasError, match="where its password was"):
        resolve_uri("http://user:***@host")


@pytest.mark.slow
def test_what_fails_before_the_first_trial_leaves_the_name_free(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(TEXT.replace("limit: 64", "limit: 999999"))
    for _ in range(2):
        assert main(["search", "small.yaml"]) == 2
        assert "data.limit is larger" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "small-darts-s0").exists()


def test_a_closed_stdout_is_no_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create(tmp_path, TEXT)
    monkeypatch.setattr("sys.stdout", None)
    assert main(["status", "small"]) == 0


def test_what_the_system_refuses_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["check", "a" * 300 + ".yaml"], "cannot be used"),
        (["status", "a" * 300], "cannot be used"),
        (["size", "a" * 300 + ".json"], "no file"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_a_dead_address_answers_at_once(monkeypatch):
    from raynas.launch.tune import cluster as tune_cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    for address, given in ((f"127.0.0.1:{port}", "--address"), (None, "RAY_ADDRESS")):
        with (
            pytest.raises(RaynasError, match=f"(?s)no Ray cluster answers.*without {given} the"),
            tune_cluster.cluster(address),
        ):
            pass


def test_a_long_folder_for_temporary_files_is_told(monkeypatch):
    from raynas.launch.tune import cluster as tune_cluster

    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for letters, long in ((30, False), (47, True)):
        monkeypatch.setenv("TMPDIR", "/" + "t" * (letters - 1))
        if not long:
            tune_cluster._check_sockets()
            continue
        with pytest.raises(RaynasError, match="too long a name") as caught:
            tune_cluster._check_sockets()
        assert "47 letters" in str(caught.value)


def test_a_sweep_of_many_values_resolves_soon(tmp_path):
    values = ", ".join(f"{i}e-6" for i in range(1, 1001))
    assert len(sweep_of(tmp_path, f"{TEXT}grid: {{weight_decay: [{values}]}}\n").trials) == 1000


def test_a_ray_that_does_not_start_is_told_without_a_traceback(monkeypatch):
    """On a busy machine Ray gives up with an exception of no kind of its own."""
    from raynas.launch.tune import cluster as tune_cluster

    def slow(**_):
        raise Exception("The current node timed out during startup.\nThis could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(tune_cluster.ray, "init", slow)
    with pytest.raises(RaynasError, match="Ray did not start") as caught, tune_cluster.cluster(None):
        pass
    assert caught.value.got == "The current node timed out during startup."
