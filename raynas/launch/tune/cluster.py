"""The Ray cluster under a sweep: started here or joined, kept silent, and asked what it can hold."""

import json
import logging
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._private import services, utils, worker
from ray._private.authentication.authentication_token_generator import generate_new_authentication_token
from ray._private.ray_logging import stdout_deduplicator
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.experimental.internal_kv import _internal_kv_get
from ray.job_config import JobConfig

from raynas.cpus import whole_cpus
from raynas.errors import RaynasError
from raynas.launch.stop import terminated

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
"""Ray's switches for a sweep: no banner, no stock loggers, no statistics, trials stay in this folder."""

DEATHS = re.compile(r"worker died or was killed|killed due to the node running low on memory")
"""What Ray's daemon says of a dead worker, on stdout."""

_BOOTSTRAP = Path("~/ray_bootstrap_config.yaml")
"""The description of the cluster, on its head."""

MOST_PENDING = 200
"""Trials that wait for an autoscaler at once; Ray Tune's own number."""

LONGEST_SOCKET = 107
"""Bytes of a socket's path, set by the kernel."""

_SOCKET = "/ray/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store"
"""What Ray adds to the folder for temporary files."""


@dataclass(frozen=True)
class Ask:
    """What one trial asks for: CPUs, and GPUs as 0, a share 1/n or a whole number."""

    cpu: float
    gpu: float

    def __str__(self) -> str:
        return f"{self.cpu:g} CPU and {self.gpu:g} GPU"

    def fit(self, node: Mapping[str, float]) -> int:
        """Return how many trials a node with these resources holds at once."""
        by_cpu = math.floor(node.get("CPU", 0) / self.cpu + 1e-9)
        if self.gpu == 0:
            return by_cpu
        gpus = node.get("GPU", 0)
        # A share lies on one GPU: what is left of two GPUs does not add up.
        by_gpu = gpus * math.floor(1 / self.gpu + 1e-9) if self.gpu < 1 else gpus // self.gpu
        return min(by_cpu, int(by_gpu))


@contextmanager
def cluster(address: str | None) -> Iterator[bool]:
    """Be connected to a Ray cluster, silently, and leave again what was started or joined here.

    Yields whether nodes may join by themselves.

    ``address`` is ``host:port``, ``auto`` for the cluster on this machine, or ``local`` to start one;
    None stands for the environment's ``RAY_ADDRESS``, else ``local``. A Ray that this process is already
    connected to is used as it is. Raises `RaynasError` for an address that does not answer.
    """
    with _environment(QUIET), _deaths_unsung(), _signals_kept():
        if ray.is_initialized():
            yield _autoscales()
            return
        where = _checked(address or os.environ.get("RAY_ADDRESS") or "local")
        try:
            with _interrupts_later():
                _connect(where, "--address" if address else "RAY_ADDRESS")
            yield where != "local" and _autoscales()
        finally:
            # SIGTERM may have ended Ray's own processes, for which it would wait a minute. They end with this
            # one, as Ray asks the kernel to see to; and a cluster elsewhere notices.
            if not terminated():
                with _interrupts_later():
                    _shut_down()


def concurrency(ask: Ask, wanted: int | None, trials: int, *, grows: bool) -> int:
    """Return how many trials to hand to Ray at once; raises `RaynasError` when no node can hold even one.

    As many as fit, so that a sampler learns before it suggests; on a cluster that ``grows`` as many as
    there are, since only what waits makes it grow.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(ask.fit(node) for node in nodes)
    types = _node_types() if grows else []
    if slots == 0 and (types or not grows) and not any(map(ask.fit, types)):
        raise too_small(ask, [*nodes, *types])
    if grows:
        slots = max(slots, MOST_PENDING)
    return max(1, min(wanted or slots, slots, trials))


def too_small(ask: Ask, nodes: Sequence[Mapping[str, float]]) -> RaynasError:
    """Return the error that no node, running or yet to be started, can hold a trial, and what to change."""
    cpus = max((node.get("CPU", 0) for node in nodes), default=0)
    gpus = max((node.get("GPU", 0) for node in nodes), default=0)
    if ask.gpu > gpus:
        step = "resources.gpu=0" if gpus == 0 else f"resources.gpu={gpus:g}"
    else:
        step = f"resources.cpu={cpus:g}"
    return RaynasError(
        "no node of the cluster can hold a trial, nor one that it can start",
        got=f"a trial asks for {ask}",
        expected=f"at most {cpus:g} CPU and {gpus:g} GPU, as the largest of {len(nodes)} nodes and types has",
        next_step=step,
    )


def _checked(address: str) -> str:
    if address.startswith("ray://"):
        raise RaynasError(
            "Ray Client addresses are not supported: a lost connection would take the sweep with it",
            got=address,
            expected="host:port of the cluster's head, `auto` on the head itself, or `local`",
            next_step="ray job submit --address http://HEAD:8265 -- raynas sweep FILE --address auto",
        )
    if address.startswith(("http://", "https://")):
        raise RaynasError(
            "this is the address of a cluster's job server",
            got=address,
            expected="host:port of the cluster's head, `auto` on the head itself, or `local`",
            next_step=f"ray job submit --address {address} -- raynas sweep FILE --address auto",
        )
    return address


def _connect(where: str, given: str) -> None:
    """Connect to ``where``, which ``given`` (an option or a variable) names; see `cluster`."""
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if RAY_JOB_CONFIG_JSON_ENV_VAR not in os.environ:  # a submitted job has its own
        common["job_config"] = _job_config()
    if where == "local":
        _check_sockets()
        _keep_token_private()
        try:
            with _loopback_alone(), _sigterm_withheld():
                ray.init(
                    address="local",
                    include_dashboard=False,
                    num_cpus=whole_cpus(),  # Ray's own count knows no quota below one CPU
                    _node_ip_address="127.0.0.1",
                    **common,
                )
        except RaynasError:
            raise
        except Exception as error:  # of no kind of its own when Ray's processes take longer than it waits
            raise RaynasError(
                "Ray did not start on this machine",
                got=f"{error}".splitlines()[0] if f"{error}" else type(error).__name__,
                expected="its processes to answer; on a very busy machine they take longer than Ray waits",
                next_step="try again when the machine is less busy: nothing was lost",
            ) from error
        return
    try:
        _check_answers(where)
        ray.init(address=where, **common)
    except (OSError, ValueError, RuntimeError) as error:
        raise RaynasError(
            "no Ray cluster answers",
            got=f"{given} {where} ({f'{error}'.splitlines()[0]})",
            expected="host:port of a running head, or `auto` on a node of the cluster",
            next_step="set RAY_AUTH_MODE=token if the cluster uses tokens, and look with `ray status`; "
            f"without {given} the sweep runs on this machine",
        ) from error


def _check_answers(where: str, patience: float = 5.0) -> None:
    """Raise `OSError` when nobody listens at ``host:port``: Ray itself would try for ten minutes."""
    host, colon, port = where.rpartition(":")
    if colon and port.isdecimal() and int(port) < 65536:
        socket.create_connection((host.strip("[]"), int(port)), patience).close()


def _check_sockets() -> None:
    """Raise `RaynasError` where the paths of Ray's sockets would be longer than the system takes."""
    variable = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(variable) or "/tmp"  # noqa: S108 - as Ray has it
    longest = LONGEST_SOCKET - len(_SOCKET)
    if len(os.fsencode(folder)) > longest:
        raise RaynasError(
            f"the folder for temporary files has too long a name for Ray's sockets below it ({variable})",
            got=f"{len(os.fsencode(folder))} letters: {folder}",
            expected=f"at most {longest} letters",
            next_step="RAY_TMPDIR=/tmp before the command, or any other short path",
        )


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until Ray is up or down: in between, they leave half of it or crash it.

    Ray installs no handler of its own: SIGTERM would abort the driver where it stands, with exit code 134.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {each: signal.signal(each, lambda number, _: asked.append(number)) for each in signals}
    sigterm, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = sigterm
        for number, handler in before.items():
            signal.signal(number, handler)
        if asked:  # whatever became of Ray, which SIGTERM may have reached as well
            raise KeyboardInterrupt


@contextmanager
def _sigterm_withheld() -> Iterator[None]:
    """Have what Ray starts take no SIGTERM, as Ray has it take no Ctrl-C.

    A scheduler sends it to all processes at once, and a driver whose raylet has gone is ended by Ray's C++
    wherever it is, without a word. They end with the driver (`_shut_down`, and the kernel if it is killed).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shut_down() -> None:
    """Leave Ray; what it has started is killed at once, as it would be after a second without an answer."""
    if (node := worker._global_node) is not None:
        kill = node.kill_all_processes
        node.kill_all_processes = lambda **given: kill(**{**given, "allow_graceful": False})
    ray.shutdown()


def _job_config() -> JobConfig:
    """Return a job whose workers do not look for modules in the folder the sweep was started in.

    Ray puts that folder before all others, so that a folder `raynas` (the clone's parent has one), a `torch/`
    or a `ray.py` in it would hide the installed package. The trials put it last; see `train`.
    """
    config = JobConfig()
    config._py_driver_sys_path = _Closed()
    return config


class _Closed(list[str]):
    """A list of folders that takes no more."""

    def extend(self, more: Iterable[str]) -> None:
        """Add nothing."""


def _keep_token_private() -> None:
    """Let nobody else on this machine read the token that lets a process into Ray; Ray writes it for all."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    with suppress(OSError):
        if path.exists():
            path.chmod(path.stat().st_mode & ~0o077)
        elif "RAY_AUTH_TOKEN" not in os.environ:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(generate_new_authentication_token())


@contextmanager
def _loopback_alone() -> Iterator[None]:
    """Have Ray take 127.0.0.1 as it is told: it would put the address of the network in its place.

    With that, its servers listen to every interface; with 127.0.0.1 to the loopback alone, metrics included.
    """
    before = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = before


def _node_types() -> list[Mapping[str, float]]:
    """Return what each type of node has that the cluster may start; empty where that is not known."""
    with suppress(OSError, ValueError, yaml.YAMLError, AttributeError, TypeError):
        described = yaml.safe_load(_BOOTSTRAP.expanduser().read_text(encoding="utf-8"))
        types = described["available_node_types"].values()
        found = [kind.get("resources") or {} for kind in types if kind.get("max_workers", 1)]
        return found if all(found) else []
    return []


def _autoscales(patience: float = 10.0) -> bool:
    """Return whether nodes may join by themselves, as Ray's monitor reports; it does so after a few seconds.

    Of a cluster that it only watches it knows no node types, so it names them after their nodes.
    """
    if _BOOTSTRAP.expanduser().exists():
        return True
    if _internal_kv_get("__autoscaler_v2_enabled") == b"1":
        return True
    until = time.monotonic() + patience
    while time.monotonic() < until:
        report = json.loads(_internal_kv_get("__autoscaling_status") or "{}").get("autoscaler_report")
        if report and (types := {**report.get("active_nodes", {}), **(report.get("idle_nodes") or {})}):
            return not all(name.startswith("node_") for name in types)
        time.sleep(0.2)
    return True


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that the user has not set, and take them away again."""
    added = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _deaths_unsung() -> Iterator[None]:
    """Keep Ray from printing that a worker died, which the trial's record says.

    The switch for it, ``RAY_DEDUP_LOGS_SKIP_REGEX``, is read only once, when Ray is first imported.
    """
    before, stdout_deduplicator.skip_re = stdout_deduplicator.skip_re, DEATHS
    try:
        yield
    finally:
        stdout_deduplicator.skip_re = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back the handlers that Ray Tune replaces and forgets; its own would swallow a later Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
