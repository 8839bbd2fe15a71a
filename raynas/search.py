"""The search: train weights on one half of the data and α on the other, epoch by epoch.

`Pack` advances one or several like-shaped searches in lock step (lanes); `Search` is the ordinary case of
one. Both are iterators of epoch reports, and `state_dict` between two epochs holds everything: a search
restored from it yields the same reports, bit for bit, as one that was never interrupted.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import grad

from raynas.core.abilities import check_abilities
from raynas.core.bilevel import Batch, Bilevel, accuracy, cross_entropy
from raynas.core.config import SearchConfig, check_alike
from raynas.core.derive import derive
from raynas.core.fan import active
from raynas.core.flat import column, flatten
from raynas.core.genotype import Genotype
from raynas.core.hessian import curvature, shift_free_basis
from raynas.core.memory import peak_memory, reset_peak_memory
from raynas.core.ops.lanes import Statistics
from raynas.core.records import Curvature, EpochReport
from raynas.core.space import Space
from raynas.core.streams import stream
from raynas.core.supernet import Supernet
from raynas.data.augment import Augment
from raynas.data.feed import Feed, Images
from raynas.data.split import Splits
from raynas.errors import RaynasError
from raynas.methods import resolve
from raynas.parts.updaters import Adam, Sgd, clip_norm

STATE_VERSION = 2


class Diverged(RaynasError):
    """A search's loss stopped being a finite number."""


Outcome = EpochReport | Diverged


class Pack:
    """K searches of one shape that advance together; lanes never influence each other.

    Iterating yields, per epoch, one `EpochReport` or `Diverged` for each search in order. ``images`` may be
    shared with other packs of the process. ``clock`` returns seconds. Raises `RaynasError` when the searches
    differ in what `check_alike` forbids. ``forms`` says how each shape of convolution is computed (see
    `raynas.core.ops.forms`); it decides about rounding only, so a resumed search needs the same.
    """

    def __init__(
        self,
        configs: Sequence[SearchConfig],
        space: Space,
        splits: Splits,
        device: torch.device | str = "cpu",
        *,
        images: Images | None = None,
        forms: Mapping[str, str] | None = None,
        dtype: torch.dtype = torch.float32,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_alike(configs)
        check_abilities(configs[0], torch.device(device))
        self.configs, self.space, self.splits = tuple(configs), space, splits
        self.config = configs[0]
        self.device, self.dtype, self.clock = torch.device(device), dtype, clock
        self.forms = forms
        self.method = resolve(self.config.method)
        self.epoch = 0
        self.problem = self._build_problem()
        self.sgd = Sgd(self.problem.values, self._column("momentum"), self._column("weight_decay"))
        self.adam = Adam(
            self.problem.alphas,
            self._column("arch_learning_rate"),
            self._column("arch_weight_decay"),
            self.method.betas,
        )
        self.streams = {
            name: [stream(config.seed, name) for config in configs] for name in ("train", "valid")
        }
        self.images = images or Images(splits.dataset, self.device)
        self.train = self._feeds(splits.train, "train")
        self.valid = self._feeds(splits.valid, "valid")
        self.probe = self._probe()
        self.basis = shift_free_basis(list(self.problem.masks.values()))

    def _build_problem(self) -> Bilevel:
        config, dataset = self.config, self.splits.dataset
        supernet = Supernet(
            self.space,
            dataset.shape,
            dataset.classes,
            config.channels or self.space.default_channels,
            config.cells or self.space.default_cells,
            [stream(each.seed, "weights") for each in self.configs],
            self.dtype,
            forms=self.forms,
            recompute=config.recompute,
        ).to(self.device)
        alphas = [stream(each.seed, "alphas") for each in self.configs]
        precision = torch.bfloat16 if config.precision == "bfloat16" else None
        problem = Bilevel(self.space, supernet, self.method.relaxation, alphas, precision, config.compile)
        problem.noise = [stream(each.seed, "noise", self.device) for each in self.configs]
        return problem

    def _feeds(self, indices: Any, name: str) -> list[Feed]:
        augment = Augment.of(self.splits.dataset.recipe, self.config.data)
        return [
            Feed(self.images, indices, self.config.batch, generator, augment, dtype=self.dtype)
            for generator in self.streams[name]
        ]

    def _probe(self) -> Batch:
        """Draw the fixed images on which curvature is measured; one set for a whole sweep, so λ compares."""
        hessian = self.config.hessian
        generator = stream(self.config.data.split_seed, "probe")
        batches = self.valid[0].probe(hessian.batches, hessian.batch or self.config.batch, generator)
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return self._everyone(images, labels)

    def _column(self, name: str) -> Tensor:
        return column([getattr(config, name) for config in self.configs], self.problem.values)

    def _everyone(self, images: Tensor, labels: Tensor) -> Batch:
        """Show the same images to every lane."""
        lanes = len(self.configs)
        return Batch(images.expand(lanes, *images.shape), labels.expand(lanes, *labels.shape))

    @property
    def parameters_count(self) -> int:
        """How many weights one search's supernet has."""
        return self.problem.values.shape[1]

    def __iter__(self) -> Iterator[list[Outcome]]:
        while self.epoch < self.config.epochs:
            yield self.advance()

    def advance(self) -> list[Outcome]:
        """Run one epoch: train, validate, derive, measure curvature; return what each search has to say."""
        started = self.clock()
        reset_peak_memory(self.device)
        rates = column([self._learning_rate(config) for config in self.configs], self.problem.values)
        train = self.train_epoch(rates)
        with self._noise("validate"):
            valid = self._evaluate(self._weights(), Statistics.RUNNING)
        broken = [
            not all(math.isfinite(value) for value in (*a, *b)) for a, b in zip(train, valid, strict=True)
        ]
        genotypes = self._derive(broken)
        with self._noise("discrete"):
            chosen = self.problem.one_hot(genotypes)
            discrete = self._evaluate(chosen, Statistics.BATCH, active(chosen))
        due = self._curvature_due() and not all(broken)
        measured = self.measure_curvature() if due else [None] * len(broken)
        seconds = self.clock() - started
        outcomes: list[Outcome] = []
        for lane, genotype in enumerate(genotypes):
            if genotype is None:
                outcomes.append(self._diverged(lane, train[lane][0]))
                continue
            outcomes.append(
                EpochReport(
                    epoch=self.epoch,
                    train_loss=train[lane][0],
                    train_accuracy=train[lane][1],
                    valid_loss=valid[lane][0],
                    valid_accuracy=valid[lane][1],
                    discrete_loss=discrete[lane][0],
                    discrete_accuracy=discrete[lane][1],
                    learning_rate=self._learning_rate(self.configs[lane]),
                    genotype=genotype,
                    weights=self.problem.rows(lane),
                    entropy=self.problem.entropy(lane),
                    skips=genotype.count("skip_connect"),
                    curvature=measured[lane],
                    seconds=seconds,
                    peak_memory=peak_memory(self.device),
                )
            )
        self.epoch += 1
        return outcomes

    def _learning_rate(self, config: SearchConfig) -> float:
        """Return the cosine's value at this epoch (Loshchilov & Hutter 2017, without restarts)."""
        low, high = config.learning_rate_min, config.learning_rate
        return low + (high - low) * (1 + math.cos(math.pi * self.epoch / config.epochs)) / 2

    def train_epoch(self, rates: Tensor) -> list[tuple[float, float]]:
        """Train for one epoch, α before weights in every step; return each lane's mean loss and accuracy."""
        totals = torch.zeros(2, len(self.configs), device=self.device, dtype=torch.float64)
        steps = 0
        for train, valid in self.batches():
            if self.epoch >= self.config.warmup:
                self.step_alphas(train, valid, rates)
            totals += self.step_weights(train, rates)
            steps += 1
        return _pairs(totals / steps)

    def batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Yield one epoch's pairs of a training and a validation batch, all lanes' side by side."""
        steps = self.train[0].steps_per_epoch
        return zip(_batches(self.train, steps), _batches(self.valid, steps), strict=True)

    def step_alphas(self, train: Batch, valid: Batch, rates: Tensor) -> None:
        """Move α once; ``rates`` [lanes, 1] are the weights' learning rates, for methods that look ahead."""
        gradient = self.method.estimator(self.problem, train, valid, self.sgd, rates)
        self.adam.step(self.problem.alphas, gradient)

    def step_weights(self, train: Batch, rates: Tensor) -> Tensor:
        """Move the weights once; return each lane's loss and accuracy before the step, [2, lanes]."""
        logits = self.problem.forward(train, self._weights(), Statistics.UPDATE)
        losses = cross_entropy(logits, train.labels)
        gradient = flatten(grad(losses.sum(), self.problem.parameters))
        self.sgd.step(self.problem.values, clip_norm(gradient, self._column("clip")), rates)
        self.problem.publish()
        return torch.stack([losses.detach(), accuracy(logits, train.labels)])

    def _weights(self) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.problem.weights(self.problem.alphas)

    @torch.no_grad()
    def _evaluate(
        self,
        weights: dict[str, Tensor],
        statistics: Statistics,
        only: dict[str, Tensor] | None = None,
    ) -> list[tuple[float, float]]:
        """Pass over the validation half, not augmented; return each lane's mean loss and accuracy.

        ``only`` marks the operations to compute, when the others have weight 0.
        """
        totals = torch.zeros(2, len(self.configs), device=self.device, dtype=torch.float64)
        for images, labels in self.valid[0].plain(self.config.batch):
            batch = self._everyone(images, labels)
            logits = self.problem.forward(batch, weights, statistics, active=only)
            both = torch.stack([cross_entropy(logits, batch.labels), accuracy(logits, batch.labels)])
            totals += both * len(labels)
        return _pairs(totals / len(self.splits.valid))

    def _derive(self, broken: Sequence[bool]) -> list[Genotype | None]:
        weights = {kind: rows.tolist() for kind, rows in self._weights().items()}
        return [
            None if bad else derive(self.space, {kind: rows[lane] for kind, rows in weights.items()})
            for lane, bad in enumerate(broken)
        ]

    def _curvature_due(self) -> bool:
        every, last = self.config.hessian.every, self.epoch == self.config.epochs - 1
        return every > 0 and (last or self.epoch % every == 0)

    def measure_curvature(self) -> list[Curvature]:
        """Measure the validation loss's curvature in α on the probe images; changes nothing."""
        hessian, started = self.config.hessian, self.clock()
        with self._noise("curvature"):
            measured = curvature(
                # The weights enter as plain numbers, so that no derivative in them is computed.
                lambda alphas: self.problem.losses(self.probe, alphas, self.problem.values, twice=True),
                self.problem.alphas,
                self.basis,
                [stream(config.seed, "curvature") for config in self.configs],
                zeros=sum(len(mask) for mask in self.problem.masks.values()),
                steps=hessian.steps,
                tolerance=hessian.tolerance,
                spectrum=hessian.spectrum,
            )
        seconds = self.clock() - started
        return [replace(each, seconds=seconds) for each in measured]

    @contextmanager
    def _noise(self, purpose: str) -> Iterator[None]:
        """Let noise operations draw from streams of this purpose and epoch, and leave training's alone."""
        training = self.problem.noise
        name = f"noise/{purpose}/{self.epoch}"
        self.problem.noise = [stream(config.seed, name, self.device) for config in self.configs]
        try:
            yield
        finally:
            self.problem.noise = training

    def _diverged(self, lane: int, loss: float) -> Diverged:
        rate = self._learning_rate(self.configs[lane])
        return Diverged(
            f"the search diverged in epoch {self.epoch}",
            got=f"training loss {loss} at learning rate {rate:.4g}",
            expected="a finite loss",
            next_step=f"lower learning_rate ({self.configs[lane].learning_rate}) or clip "
            f"({self.configs[lane].clip})",
        )

    def state_dict(self, lane: int = 0) -> dict[str, Any]:
        """Return everything one search needs to go on from here, as tensors and plain values."""
        return {
            "version": STATE_VERSION,
            "identity": self._identity(lane),
            "epoch": self.epoch,
            "supernet": {n: t[lane].clone() for n, t in self.problem.supernet.state_dict().items()},
            "alphas": self.problem.alphas[lane].clone(),
            "sgd": self.sgd.state(lane),
            "adam": self.adam.state(lane),
            "streams": {name: g[lane].get_state() for name, g in self._generators().items()},
        }

    def load_state_dict(self, state: dict[str, Any], lane: int = 0) -> None:
        """Put one search back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        mine = self._identity(lane)
        theirs = state.get("identity", {})
        different = [key for key in mine if theirs.get(key) != mine[key]]
        if state.get("version") != STATE_VERSION or different:
            key = different[0] if different else "version"
            raise RaynasError(
                "the checkpoint belongs to another search",
                got=f"{key}: {theirs.get(key, state.get('version'))}",
                expected=f"{key}: {mine.get(key, STATE_VERSION)}",
                next_step="resume with the configuration it was made with, or delete the checkpoint",
            )
        self.epoch = state["epoch"]
        for name, tensor in self.problem.supernet.state_dict().items():
            tensor[lane] = state["supernet"][name]
        self.problem.values[lane] = flatten([p.detach() for p in self.problem.parameters])[lane]
        self.problem.alphas[lane] = state["alphas"]
        self.sgd.restore(lane, state["sgd"])
        self.adam.restore(lane, state["adam"])
        for name, generators in self._generators().items():
            generators[lane].set_state(state["streams"][name])

    def keep(self, lanes: Sequence[int]) -> "Pack":
        """Return a pack of some of these searches, each going on from where it stands."""
        pack = Pack(
            [self.configs[lane] for lane in lanes],
            self.space,
            self.splits,
            self.device,
            images=self.images,
            forms=self.forms,
            dtype=self.dtype,
            clock=self.clock,
        )
        for place, lane in enumerate(lanes):
            pack.load_state_dict(self.state_dict(lane), place)
        return pack

    def _identity(self, lane: int) -> dict[str, Any]:
        """Return what must be equal for a state to fit: configuration, space and data."""
        return {
            **self.configs[lane].model_dump(mode="json"),
            "space_fingerprint": self.space.fingerprint(),
            "data_fingerprint": self.splits.record()["hash"],
        }

    def _generators(self) -> dict[str, list[torch.Generator]]:
        return {**self.streams, "noise": self.problem.noise}


class Search(Pack):
    """One search: an iterator of `EpochReport`s; raises `Diverged` when the loss is no longer finite."""

    def __init__(
        self,
        config: SearchConfig,
        space: Space,
        splits: Splits,
        device: torch.device | str = "cpu",
        **more: Any,
    ) -> None:
        super().__init__([config], space, splits, device, **more)

    def __iter__(self) -> Iterator[EpochReport]:  # type: ignore[override]
        for [outcome] in super().__iter__():
            if isinstance(outcome, Diverged):
                raise outcome
            yield outcome


def _batches(feeds: Sequence[Feed], steps: int) -> Iterator[Batch]:
    """Yield ``steps`` shuffled batches, each lane's own images side by side."""
    for pairs in zip(*(feed.epoch(steps) for feed in feeds), strict=True):
        images, labels = zip(*pairs, strict=True)
        yield Batch(torch.stack(images), torch.stack(labels))


def _pairs(totals: Tensor) -> list[tuple[float, float]]:
    return [(float(loss), float(accuracy)) for loss, accuracy in totals.T.tolist()]
