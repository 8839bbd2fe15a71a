"""The search: train weights on one half of the data and α on the other, epoch by epoch.

`Pack` advances one or several like-shaped searches in lock step (lanes); `Search` is the ordinary case of
one. Both are iterators of epoch reports, and `state_dict` between two epochs holds everything: a search
restored from it yields the same reports, bit for bit, as one that was never interrupted.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from raynas.bilevel.exchange import Draw
from raynas.bilevel.progress import Progress
from raynas.bilevel.records import Curvature, Ended, EpochReport
from raynas.bilevel.settings import scheduled
from raynas.bilevel.slots import Ending
from raynas.config import SearchConfig, check_alike
from raynas.data.batch import Batch
from raynas.data.feeds import Content, Feeds, content_of
from raynas.data.split import Splits
from raynas.errors import RaynasError
from raynas.methods import check_search, lay_out, resolve, with_defaults
from raynas.methods.identity import another_search, check_identity, identity_of
from raynas.nets.ops.flat import column
from raynas.nets.ops.lanes import Statistics
from raynas.search.abilities import check_abilities
from raynas.search.look import Evaluator, Looker, Pair, entropy_of, pairs, perplexity, rows_of
from raynas.search.memory import peak_memory, reset_peak_memory
from raynas.search.step import Trainer
from raynas.search.streams import stream
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space

STATE_VERSION = 2


class Diverged(RaynasError):
    """A search's loss stopped being a finite number."""


Outcome = EpochReport | Diverged


class Pack:
    """K searches of one shape that advance together; lanes never influence each other.

    Iterating yields, per epoch, one `EpochReport` or `Diverged` for each search in order. A search that its
    method ends early says so in its report; what the pack reports of it after that means nothing. ``images``
    may be shared with other packs of the process. ``clock`` returns seconds. Raises `RaynasError` when the
    searches differ in what `check_alike` forbids. ``forms`` says how each shape of convolution is computed
    (see `raynas.nets.ops.forms`); it decides about rounding only, so a resumed search needs the same.
    """

    def __init__(
        self,
        configs: Sequence[SearchConfig],
        space: Space,
        splits: Splits,
        device: torch.device | str = "cpu",
        *,
        images: Content | None = None,
        forms: Mapping[str, str] | None = None,
        dtype: torch.dtype = torch.float32,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        configs = tuple(with_defaults(config) for config in configs)
        check_alike(configs)
        check_abilities(configs[0], torch.device(device))
        check_search(configs[0], space)
        self.configs, self.space, self.splits = configs, space, splits
        self.config = configs[0]
        self.device, self.dtype, self.clock = torch.device(device), dtype, clock
        self.forms = forms
        self.method = resolve(self.config.method, space)
        if self.method.solo and len(configs) > 1:
            raise RaynasError(
                f"searches with {self.method.name} cannot advance in one pack", got=len(configs)
            )
        self.stages = lay_out(self.method, space, self.config.model_dump())
        self.epoch = 0
        self.progress = self._progress(self.epoch)
        self.trainer = Trainer(
            configs, self.method, space, splits.dataset, self.device, dtype, forms, self.stages
        )
        self.problem = self.trainer.problem
        self.problem.begin(self.progress)
        self.streams = {
            name: [stream(config.seed, name) for config in configs] for name in ("train", "valid")
        }
        self.images = content_of(splits.dataset, self.device) if images is None else images
        self.train = self._feeds(splits.train, "train")
        self.valid = self._feeds(splits.valid, "valid")
        self.evaluator = Evaluator(
            self.problem, self.configs, self.valid, self.method.relaxation.shift_free, clock
        )
        smallest = min(self.train.smallest, self.valid.smallest, self.config.hessian.batch or 2)
        if smallest == 1 and not skeletons.of(space).texts:
            self.evaluator.check_statistics(self.problem.mean())
        self.history: list[list[EpochReport]] = [[] for _ in configs]
        self.past: list[dict[int, dict[str, Any]]] = [{} for _ in configs]
        self.restarts = [0 for _ in configs]

    def _feeds(self, indices: Any, name: str) -> Feeds:
        more = (self.config, self.streams[name], self.dtype)
        return Feeds(self.images, self.splits.dataset.recipe, indices, *more)

    @property
    def epochs(self) -> int:
        """How many epochs a search has that is not ended early, fine tuning included."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def parameters_count(self) -> int:
        """How many weights one search's supernet has now."""
        return self.problem.values.shape[1]

    def __iter__(self) -> Iterator[list[Outcome]]:
        while self.epoch < self.epochs:
            outcomes = self.advance()
            yield outcomes
            if all(isinstance(each, EpochReport) and each.ended for each in outcomes):
                return

    def advance(self) -> list[Outcome]:
        """Run one epoch: train, validate, derive, measure curvature; return what each search has to say."""
        started = self.clock()
        reset_peak_memory(self.device)
        self._begin()
        rates = [self._learning_rate(lane) for lane in range(len(self.configs))]
        train = self.train_epoch(column(rates, self.problem.values))
        mean = self.problem.mean()
        valid = self.evaluator.validate(self.epoch)
        broken = [
            not all(math.isfinite(value) for value in (*a, *b)) for a, b in zip(train, valid, strict=True)
        ]
        genotypes = [None if bad else self._derive(mean, lane) for lane, bad in enumerate(broken)]
        derived = self.problem.policy.one_hot(genotypes)
        discrete = self.evaluator.look(derived, Statistics.BATCH, "discrete", self.epoch)
        due = self._curvature_due() and not all(broken)
        measured = self.measure_curvature() if due else [None] * len(broken)
        seconds = self.clock() - started
        outcomes: list[Outcome] = []
        for lane, genotype in enumerate(genotypes):
            if genotype is None:
                outcomes.append(self._diverged(lane, train[lane][0], valid[lane][0], rates[lane]))
                continue
            losses = (train[lane], valid[lane], discrete[lane])
            report = self._report(lane, mean, genotype, losses, rates[lane], measured[lane])
            outcomes.append(replace(report, seconds=seconds, peak_memory=peak_memory(self.device)))
        self.epoch += 1
        return [
            self._judge(lane, each) if isinstance(each, EpochReport) else each
            for lane, each in enumerate(outcomes)
        ]

    def _begin(self) -> None:
        """Start an epoch: schedules take their values, stages take operations away and rebuild."""
        self.progress = self._progress(self.epoch)
        self.problem.begin(self.progress)
        stage = self.stages[self.progress.stage]
        if stage.rate is not None and not self.progress.stage_epoch:
            self.trainer.forget_momentum()
        if self.method.stages is not None:
            looks = Looker(self.evaluator, self.epoch)
            alive = self.method.stages(self.problem.policy, self.history, looks)
            if alive is not None:
                self.problem.policy.prune(alive)
        if self.progress.stage != self.trainer.stage:
            self.trainer.enter(self.progress.stage)

    def _progress(self, epoch: int) -> Progress:
        first = index = 0
        while epoch >= first + self.stages[index].epochs and index < len(self.stages) - 1:
            first, index = first + self.stages[index].epochs, index + 1
        epochs = self.config.epochs
        warmup = self.config.warmup if first < epochs else 0
        return Progress(epoch, epochs, index, first, first + self.stages[index].epochs, warmup)

    def _learning_rate(self, lane: int) -> float:
        config, stage = self.configs[lane], self.stages[self.progress.stage]
        if stage.rate is not None:
            return config.learning_rate * stage.rate
        low, high = config.learning_rate_min, config.learning_rate
        return self.method.annealing(low, high, self.progress, self.history[lane])

    def train_epoch(self, rates: Tensor) -> list[Pair]:
        """Train for one epoch at rates [lanes, 1]; return each lane's mean loss and accuracy."""
        totals = torch.zeros(2, len(self.configs), device=self.device, dtype=torch.float64)
        steps, resting = 0, self.stages[self.progress.stage].rate == 0
        for train, valid in self.batches():
            if resting:
                totals += self.trainer.watch(train)
            else:
                totals += self.trainer.step(train, valid, rates, move_alphas=self._alphas_due(steps))
            steps += 1
        return pairs(totals / steps)

    def _alphas_due(self, step: int) -> bool:
        """Tell whether α moves in this step: after the warm-up, and in every so many steps only."""
        rests = self.method.estimator is None or self.progress.stage_epoch < self.progress.warmup
        return not rests and step % self.method.every == 0

    def batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Yield one epoch's pairs of a training and a validation batch, all lanes' side by side."""
        steps = self.train.steps_per_epoch
        cutout = math.prod(modifier.cutout() for modifier in self.problem.policy.modifiers)
        return zip(self.train.epoch(steps, cutout), self.valid.epoch(steps, cutout), strict=True)

    def _derive(self, mean: Draw, lane: int) -> Genotype:
        return self.method.derivation(self.space, _of_lane(mean, lane))

    def _notes(self, mean: Draw, lane: int) -> dict[str, float]:
        """Return what the derivation has to say of a cell beside the cell itself."""
        notes = getattr(self.method.derivation, "notes", None)
        return dict(notes(self.space, _of_lane(mean, lane))) if notes else {}

    def _curvature_due(self) -> bool:
        every, last = self.config.hessian.every, self.epoch == self.epochs - 1
        return every > 0 and (last or self.epoch % every == 0)

    def measure_curvature(self) -> list[Curvature]:
        """Measure the validation loss's curvature in α on the probe images; changes nothing."""
        return self.evaluator.measure_curvature(self.epoch)

    def _report(
        self,
        lane: int,
        mean: Draw,
        genotype: Genotype,
        losses: tuple[Pair, Pair, Pair],
        rate: float,
        measured: Curvature | None,
    ) -> EpochReport:
        train, valid, discrete = losses
        return EpochReport(
            epoch=self.epoch,
            train_loss=train[0],
            train_accuracy=train[1],
            valid_loss=valid[0],
            valid_accuracy=valid[1],
            discrete_loss=discrete[0],
            discrete_accuracy=discrete[1],
            learning_rate=rate,
            genotype=genotype,
            weights=rows_of(self.space, mean.weights, lane),
            entropy=entropy_of(mean.weights, lane),
            skips=skeletons.of(genotype).count(genotype, "skip_connect"),
            curvature=measured,
            extra={
                **self._extra(lane, {"": valid[0], "discrete_": discrete[0]}),
                **self._notes(mean, lane),
            },
            restart=self.restarts[lane],
        )

    def _extra(self, lane: int, losses: Mapping[str, float]) -> dict[str, float]:
        """Return the values of the method's schedules, a text's perplexities, and what is alive.

        The last only once something no longer is.
        """
        values = [scheduled(part, self.progress) for _, part in self.method.parts()]
        extra = {name: float(value) for each in values for name, value in each.items()}
        alive = sum(int(mask[lane].sum()) for mask in self.problem.policy.alive.values())
        if skeletons.of(self.space).texts:
            extra |= {f"{kind}perplexity": perplexity(loss) for kind, loss in losses.items()}
        if self.method.stages is not None:
            extra["alive"] = float(alive)
        return extra

    def _judge(self, lane: int, report: EpochReport) -> EpochReport:
        """Ask the stop rule about a lane's reports; the last one says so if the search is over."""
        history = self.history[lane]
        history.append(report)
        if self.method.returning and report.curvature is not None:
            self._remember(lane)
        stop = self.method.stop if self.epoch < self.epochs else None  # the last epoch is the end anyhow
        ending = stop and stop(history, self.space)
        if ending and ending.again:
            if self.restarts[lane] < ending.again.times:
                self._go_back(lane, ending)
        elif ending:
            history[-1] = replace(report, ended=Ended(ending.epoch, ending.reason))
            return history[-1]
        return report

    def _remember(self, lane: int) -> None:
        """Keep this epoch's state as long as the stop rule may go back to it."""
        reach = max(rule.reach for rule in self.method.returning)
        past = self.past[lane]
        past[self.epoch - 1] = self._moving(lane)
        self.past[lane] = dict(sorted(past.items())[-reach:])

    def _go_back(self, lane: int, ending: Ending) -> None:
        """Return to the end of an earlier epoch, with more weight decay from there on."""
        self.epoch = ending.epoch + 1
        self._restore(lane, self.past[lane][ending.epoch])
        self.past[lane] = {epoch: kept for epoch, kept in self.past[lane].items() if epoch <= ending.epoch}
        self.history[lane] = self.history[lane][: self.epoch]
        self.restarts[lane] += 1
        self.trainer.regularise(lane, self.restarts[lane])

    def _diverged(self, lane: int, train: float, valid: float, rate: float) -> Diverged:
        return Diverged(
            f"the search diverged in epoch {self.epoch}",
            got=f"training loss {train:.6g}, validation loss {valid:.6g} at learning rate {rate:.4g}",
            expected="finite losses",
            next_step=f"lower learning_rate ({self.configs[lane].learning_rate}) or clip "
            f"({self.configs[lane].clip})",
        )

    def state_dict(self, lane: int = 0) -> dict[str, Any]:
        """Return everything one search needs to go on from here, as tensors and plain values."""
        return {
            "version": STATE_VERSION,
            "identity": identity_of(self.configs[lane], self.method, **self._shared()),
            "epoch": self.epoch,
            **self._moving(lane),
            "history": [report.to_json() for report in self.history[lane]],
            "past": dict(self.past[lane]),
            "restarts": self.restarts[lane],
        }

    def _moving(self, lane: int) -> dict[str, Any]:
        """Return what every step changes."""
        streams = {name: generators[lane].get_state() for name, generators in self.streams.items()}
        return {**self.trainer.state(lane), "streams": streams}

    def load_state_dict(self, state: dict[str, Any], lane: int = 0) -> None:
        """Put one search back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        if state.get("version") != STATE_VERSION:
            raise another_search(f"version: {state.get('version')}", f"version: {STATE_VERSION}")
        check_identity(state.get("identity", {}), self.configs[lane], self.method, **self._shared())
        self.epoch = state["epoch"]
        self._restore(lane, state)
        self.history[lane] = [EpochReport.from_json(report) for report in state["history"]]
        self.past[lane] = dict(state["past"])
        self.restarts[lane] = state["restarts"]
        self.trainer.regularise(lane, self.restarts[lane])

    def _restore(self, lane: int, state: Mapping[str, Any]) -> None:
        """Put back what every step changes, as it was before ``self.epoch`` began."""
        self.trainer.stand_in(self._progress(self.epoch - 1).stage)
        self.trainer.restore(lane, state)
        for name, generators in self.streams.items():
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

    def _shared(self) -> dict[str, str]:
        """Return the fingerprints of space and data."""
        return {
            "space_fingerprint": skeletons.fingerprint(self.space),
            "data_fingerprint": str(self.splits.record()["hash"]),
        }


def _of_lane(mean: Draw, lane: int) -> dict[str, list[list[float]]]:
    return {name: rows[lane].tolist() for name, rows in mean.weights.items()}


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
