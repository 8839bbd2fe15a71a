"""One training over several devices of a machine: a process each, which trains its portion of every batch.

The process of the trial holds no device. It starts the others, keeps the state of the first, and ends all of
them once one has died, so that none waits for a dead one and none outlives the trial.
"""

import io
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, NamedTuple

import torch
from torch import distributed

from raynas.data.dataset import Dataset
from raynas.data.portion import LEAST, Portion
from raynas.errors import Diverged, RaynasError, short
from raynas.search.checkpoint import dump
from raynas.spaces.genotype import Genotype
from raynas.train.config import TrainConfig
from raynas.train.lane import Lane
from raynas.train.loop import AnyLane, Training
from raynas.train.records import TrainReport

_PATIENCE = 20.0
"""Seconds that a process may take to end by itself before it is killed."""

Prepare = Callable[[TrainConfig], None]
"""What pins threads and kernels in every process; a function of a module, for it travels by name."""


class Team(Training):
    """A training whose ``config.devices`` processes each take a portion of every batch.

    Gradients are added up over all, batch norm sees a portion alone, and the running statistics are the
    first's, who also looks at the images held out and the test images. To the rounding of sums this is one
    process that normalises each portion by itself. ``device`` tells the kind; CUDA's are the first ones that
    this process sees. Every lane, state and report here is a copy on the CPU of the first's.

    Raises `RaynasError` for fewer devices than are asked for, and for a batch too small to share.
    """

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        genotype: Genotype,
        dataset: Dataset,
        device: torch.device | str,
        prepare: Prepare,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        [config] = configs
        device = torch.device(device)
        _check(config, device)
        # Of what is kept here nothing is computed: whether the devices can is theirs to say.
        kept = config.model_copy(update={"precision": "float32", "compile": False})
        super().__init__([kept], genotype, dataset, "cpu", dtype=dtype)
        self.configs, self.config, self.device = (config,), config, device
        lane = self.lanes[0]
        if not isinstance(lane, Lane):
            raise RaynasError("a language model is trained on one device", got=f"devices: {config.devices}")
        if lane.feed.batch < LEAST * config.devices:
            raise RaynasError(
                f"a batch of {dataset.name} is too small for {config.devices} devices",
                got=f"{lane.feed.batch} images",
                expected=f"{LEAST} or more for each device, which normalises its own",
                next_step="set a larger batch, or devices=1",
            )
        self._given: dict[str, Any] | None = None
        shared = _Shared(
            config, genotype, dataset, device, dtype, prepare, tempfile.mkdtemp(prefix="raynas-")
        )
        self._members = _Members(shared)
        # At the latest before Python waits for its children, which wait for orders.
        self._end = Finalize(self, self._members.end, exitpriority=10)
        self._ask("begin")

    def advance(self) -> list[TrainReport | Diverged]:
        """Let all train one epoch; return what the first has to say."""
        outcome, state = self._ask("advance")
        if isinstance(outcome, Diverged):
            self.epoch += 1
            self._end()
        else:
            self._take(_read(state))
        return [outcome]

    def state_dict(self, lane: int = 0) -> dict[str, Any]:
        """Return the first's state, as it is on its device."""
        return super().state_dict(lane) if self._given is None else self._given

    def load_state_dict(self, state: Mapping[str, Any], lane: int = 0) -> None:
        """Put all of them back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        try:
            self._take(dict(state))
        except BaseException:
            self._end()
            raise
        if self.epoch < self.epochs:
            self._ask("load", dump(dict(state)))

    def keep(self, lanes: Sequence[int]) -> "Team":
        """Return this very training: it is of one lane."""
        return self

    def _take(self, state: dict[str, Any]) -> None:
        """Take over the first's state; once it is the last there is nothing left for anybody to do."""
        # What draws on a GPU has another state than what draws here, and is seeded anew in each epoch.
        super().load_state_dict({**state, "drops": self.lanes[0].drops.get_state()})
        self._given = state
        if self.epoch == self.epochs:
            self._end()

    def _ask(self, verb: str, content: bytes | None = None) -> Any:
        try:
            return self._members.ask(verb, content)
        except BaseException:
            self._end()
            raise


class _Shared(NamedTuple):
    """What all processes of a training are given."""

    config: TrainConfig
    genotype: Genotype
    dataset: Dataset
    device: torch.device
    dtype: torch.dtype
    prepare: Prepare
    meeting: str


class _Member(Training):
    """The training of one process: of a portion of every batch."""

    def __init__(self, shared: _Shared, portion: Portion, device: torch.device) -> None:
        super().__init__([shared.config], shared.genotype, shared.dataset, device, dtype=shared.dtype)
        self.portion = portion
        for lane in self.lanes:
            if isinstance(lane, Lane):  # those of texts are refused where a training is configured
                lane.portion = portion

    def _looks(self, lane: AnyLane) -> dict[str, float]:
        return {} if self.portion.number else super()._looks(lane)


class _Members:
    """The processes, from their start to their end."""

    def __init__(self, shared: _Shared) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes: list[BaseProcess] = []
        self.meeting, self.busy = shared.meeting, True
        try:
            for number in range(shared.config.devices):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, number, shared))
                process.start()
                theirs.close()
                self.pipes.append(ours)
                self.processes.append(process)
        except BaseException:
            self.end()
            raise

    def ask(self, verb: str, content: bytes | None) -> Any:
        """Send all the same order; return the first's answer once all have done it."""
        self.busy = True
        try:
            for pipe in self.pipes:
                pipe.send((verb, content))
        except OSError:
            raise self._death() from None
        answers: dict[int, Any] = {}
        numbers: dict[Any, int] = {pipe: number for number, pipe in enumerate(self.pipes)}
        while len(answers) < len(self.pipes):
            waiting = [pipe for pipe, number in numbers.items() if number not in answers]
            # Now and then without a sign: what a dead one has forked to read files may keep its pipes open.
            ready = wait([*waiting, *(process.sentinel for process in self.processes)], timeout=1.0)
            for pipe in [each for each in waiting if each in ready]:
                try:
                    done, answer = pipe.recv()
                except (EOFError, OSError):
                    raise self._death() from None
                if not done:
                    raise self._cause(answer)
                answers[numbers[pipe]] = answer
            if not all(process.is_alive() for process in self.processes):
                raise self._death()
        self.busy = False
        return answers[0]

    def _cause(self, error: Exception) -> Exception:
        """Return the death of another where there was one: whoever summed with it fails, too."""
        self._await_ends()
        return self._death() if any(not process.is_alive() for process in self.processes) else error

    def _await_ends(self) -> None:
        """Wait for those that are ending to have ended: their pipes close a moment before and tell others."""
        ending = wait([process.sentinel for process in self.processes], timeout=1.0)
        for process in self.processes:
            if process.sentinel in ending:
                process.join(_PATIENCE)

    def _death(self) -> ChildProcessError:
        self._await_ends()
        said = [
            f"process {number} of {len(self.processes)} ({_ended(process)})"
            for number, process in enumerate(self.processes, start=1)
            if not process.is_alive()
        ]
        return ChildProcessError(f"a process of the training died: {', '.join(said) or 'none is left'}")

    def end(self) -> None:
        """End all of them."""
        for pipe in self.pipes:
            with suppress(OSError):
                pipe.close()
        for process in self.processes:
            # Those at rest end by themselves, and what reads files for them; others may wait for a dead one.
            process.join(0 if self.busy else _PATIENCE)
            process.kill()
        for process in self.processes:
            process.join()
        shutil.rmtree(self.meeting, ignore_errors=True)


def _check(config: TrainConfig, device: torch.device) -> None:
    if device.type == "cuda" and torch.cuda.device_count() < config.devices:
        raise RaynasError(
            "there are fewer GPUs than the training is shared out to",
            got=f"{torch.cuda.device_count()} that this process sees",
            expected=f"devices: {config.devices}, on one machine",
            next_step=f"resources.gpu={config.devices}, or fewer devices",
        )


def _ended(process: BaseProcess) -> str:
    code = process.exitcode or 0
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"


def _read(state: bytes) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
    return found


def _work(pipe: Connection, number: int, shared: _Shared) -> None:
    """Do what is ordered until the trial's process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trial's to obey
    threading.Thread(target=_follow, daemon=True).start()
    member: _Member | None = None
    with suppress(EOFError, OSError):
        while True:
            verb, content = pipe.recv()
            try:
                if member is None:
                    member = _begin(number, shared)
                answer = _do(member, verb, content)
            except RaynasError as error:
                pipe.send((False, error))
            except (torch.OutOfMemoryError, MemoryError) as error:
                pipe.send((False, torch.OutOfMemoryError(f"process {number + 1}: {error}")))
            except Exception as error:
                words = f"process {number + 1}: {type(error).__name__}: {short(str(error), 500)}"
                pipe.send((False, RuntimeError(f"{words}\n{traceback.format_exc()}")))
            else:
                pipe.send((True, answer))


def _follow() -> None:
    """End with the trial's process, however that ended."""
    if (trial := multiprocessing.parent_process()) is not None:
        trial.join()
    os._exit(1)


def _begin(number: int, shared: _Shared) -> _Member:
    config, device = shared.config, shared.device
    shared.prepare(config)
    if device.type == "cuda":
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{shared.meeting}/meeting",
        rank=number,
        world_size=config.devices,
    )
    return _Member(shared, Portion(number, config.devices), device)


def _do(member: _Member, verb: str, content: bytes | None) -> Any:
    if verb == "load" and content is not None:
        member.load_state_dict(_read(content))
    if verb != "advance":
        return None
    [outcome] = member.advance()
    return None if member.portion.number else (outcome, dump(member.state_dict()))
