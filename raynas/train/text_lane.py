"""Training a language model from scratch: dropouts, segments of random length, and averaged weights.

As quark0/darts f276dd3 does it (rnn/model.py and rnn/train.py), whose regularisers are those of AWD-LSTM
(Merity et al. 2018).
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from raynas.data.corpus import Corpus
from raynas.data.text_feed import TextFeed, read_through, reading, segment_lengths
from raynas.errors import RaynasError
from raynas.nets.networks.recurrent import Masks, RecurrentNetwork
from raynas.search.searches import Tell, nobody
from raynas.search.streams import stream
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.train.config import TextTraining, TrainConfig
from raynas.train.records import TrainReport
from raynas.train.schedule import learning_rate

VALID_STREAMS, TEST_STREAMS = 10, 1
"""Streams that the words held out and those of the test are read in; each begins without a past."""


class TrainedLanguageModel(nn.Module):
    """A language model with what only training needs: dropouts, whose masks hold for a whole segment.

    ``drops``, a generator on the network's device that the caller owns and saves, draws them.
    """

    chance = 0.0
    """Drop path's, which a cell of activations does not have."""

    def __init__(self, network: RecurrentNetwork, drops: torch.Generator, settings: TextTraining) -> None:
        super().__init__()
        self.network, self.drops, self.settings = network, drops, settings

    def forward(self, tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [N, T, words] of what follows tokens [N, T], the cell's outputs and those dropped.

        Outputs are [N, T, channels]; the last of them is the state that the next segment starts from.
        """
        network, settings = self.network, self.settings
        n, channels = hidden.shape
        words = F.embedding(tokens, network.embedding)
        # A word that is blanked is so wherever it stands; as an output it can still be chosen.
        words = words * self._mask(settings.drop_words, len(network.embedding), 1)[tokens]
        words = words * self._mask(settings.drop_embedding, n, 1, channels)
        masks = Masks(
            self._mask(settings.drop_input, n, channels), self._mask(settings.drop_hidden, n, channels)
        )
        states = []
        for word in words.unbind(1):
            hidden = network.cell(word, hidden, masks)
            states.append(hidden)
        outputs = torch.stack(states, 1)
        dropped = outputs * self._mask(settings.drop_output, n, 1, channels)
        return F.linear(dropped, network.embedding, network.bias), outputs, dropped

    def _mask(self, chance: float, *shape: int) -> Tensor:
        like = self.network.embedding
        if not chance:
            return like.new_ones(shape)
        drawn = torch.rand(shape, generator=self.drops, device=like.device, dtype=torch.float32)
        return (drawn < 1 - chance).to(like.dtype) / (1 - chance)


class TextLane:
    """One language model with its optimiser, its text and its random streams; see `raynas.train.lane.Lane`.

    SGD trains it until `stagnates` says so, ASGD from then on, and what is evaluated and kept are ASGD's
    averages. Its rate is that of a segment's length with a segment's delay, as PyTorch's ASGD has it; the
    source trains with the same. Unlike there the last epoch counts, not the best on the words held out.
    """

    def __init__(
        self,
        config: TrainConfig,
        genotype: Genotype,
        corpus: Corpus,
        tokens: Tensor,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.config, self.device = config, device
        self.drops, self.order = stream(config.seed, "drops", device), stream(config.seed, "train")
        self.trained = build_model(config, genotype, corpus, self.drops).to(device, dtype)
        self.averaging = False
        self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
            self.trained.parameters(),
            config.learning_rate,
            config.momentum,
            weight_decay=config.weight_decay,
        )
        bptt = config.data.bptt
        self.feed = TextFeed(tokens[: corpus.train], config.batch, bptt)
        held_out = tokens[corpus.cuts[1] if corpus.select else corpus.train :]
        self.valid = reading(held_out, VALID_STREAMS, bptt) if len(held_out) else None

    def begin(self, reports: Sequence[TrainReport]) -> None:
        """Go over to averaging where the epochs so far ask for it."""
        patience = self.trained.settings.patience
        losses = [report.valid_loss for report in reports if report.valid_loss is not None]
        if patience is not None and not self.averaging and stagnates(losses, patience):
            self._average()

    def _average(self) -> None:
        config, self.averaging = self.config, True
        self.optimiser = torch.optim.ASGD(
            self.trained.parameters(),
            config.learning_rate,
            lambd=0.0,
            t0=0.0,
            weight_decay=config.weight_decay,
        )

    def train_epoch(self, epoch: int, tell: Tell = nobody) -> tuple[float, float]:
        """Move the weights once per segment; return the mean loss and accuracy over the epoch's words."""
        config, feed = self.config, self.feed
        self.trained.train()
        length = feed.tokens.shape[1]
        fixed = [config.data.bptt] * -(-(length - 1) // config.data.bptt)
        lengths = (
            segment_lengths(length, config.data.bptt, self.order)
            if self.trained.settings.random_segments
            else fixed
        )
        seen, count = torch.zeros(2, dtype=torch.float64, device=self.device), 0
        hidden = self._start(feed)
        for drawn, (tokens, labels) in zip(lengths, feed.cut(lengths), strict=True):
            tell("training", count / feed.count)
            rate = learning_rate(config, epoch, count / feed.count)
            loss, logits, hidden = self._step(tokens, labels, hidden, rate * drawn / config.data.bptt)
            seen += torch.stack([loss * labels.numel(), (logits.argmax(2) == labels).sum()])
            count += labels.numel()
        loss, accuracy = (seen / count).tolist()
        return loss, accuracy

    def _step(
        self, tokens: Tensor, labels: Tensor, hidden: Tensor, rate: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move the weights by one segment; return its loss, logits, and the state to go on from."""
        config, settings = self.config, self.trained.settings
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        with self._arithmetic():
            logits, outputs, dropped = self.trained(tokens, hidden)
            loss = total = cross_entropy(logits.flatten(0, 1), labels.flatten())
            if settings.activation:
                total = total + settings.activation * dropped.pow(2).mean()
            if settings.slowness:
                total = total + settings.slowness * (outputs[:, 1:] - outputs[:, :-1]).pow(2).mean()
        total.backward()  # type: ignore[no-untyped-call]
        if config.clip is not None:
            nn.utils.clip_grad_norm_(self.trained.parameters(), config.clip)
        self.optimiser.step()
        return loss.detach(), logits.detach(), outputs[:, -1].detach()

    @torch.no_grad()
    def evaluate(self, feed: TextFeed) -> tuple[float, float]:
        """Return mean loss and accuracy over all words of a feed, as the deployed network has them."""
        self.trained.eval()
        weights = self._weights()

        def answer(tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
            with self._arithmetic():
                logits, last = functional_call(self.trained.network, weights, (tokens, hidden))
            return logits.to(hidden.dtype), last.to(hidden.dtype)

        return read_through(answer, feed, self._start(feed))

    def look(self, tokens: Tensor) -> tuple[float, float]:
        """Return mean loss and accuracy over the words of the test."""
        return self.evaluate(reading(tokens, TEST_STREAMS, self.config.data.bptt))

    def result(self) -> RecurrentNetwork:
        """Return the network as it is kept: under the averaged weights, once there are any."""
        network = copy.deepcopy(self.trained.network)
        network.load_state_dict(self._weights())
        return network

    def _weights(self) -> dict[str, Tensor]:
        """Return the network's weights, or their averages."""
        named = dict(self.trained.network.named_parameters())
        return {name: self.optimiser.state[each].get("ax", each) for name, each in named.items()}

    def _start(self, feed: TextFeed) -> Tensor:
        return self.trained.network.embedding.new_zeros(feed.batch, self.trained.network.channels)

    def _arithmetic(self) -> torch.autocast:
        low = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=low)

    def state(self) -> dict[str, Any]:
        """Return everything that steps change, as tensors."""
        return {
            "network": {name: tensor.clone() for name, tensor in self.trained.state_dict().items()},
            "averaging": self.averaging,
            "optimiser": {
                name: {k: v.clone() for k, v in self.optimiser.state[parameter].items() if v is not None}
                for name, parameter in self.trained.named_parameters()
            },
            "order": self.order.get_state(),
            "drops": self.drops.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.trained.load_state_dict(state["network"])
        if state["averaging"]:
            self._average()
        for name, parameter in self.trained.named_parameters():
            for key, value in state["optimiser"][name].items():
                self.optimiser.state[parameter][key] = value.to(self.device).clone()
        self.order.set_state(state["order"])
        self.drops.set_state(state["drops"])


def stagnates(losses: Sequence[float], patience: int) -> bool:
    """Tell whether the last of the losses is worse than the best of those over ``patience`` epochs before it.

    The trigger of AWD-LSTM (Merity et al. 2018, algorithm 1), as quark0/darts f276dd3 has it.
    """
    *before, last = losses or [0.0]
    return len(before) > patience and last > min(before[:-patience])


def build_model(
    config: TrainConfig, genotype: Genotype, corpus: Corpus, drops: torch.Generator
) -> TrainedLanguageModel:
    """Build a cell's language model as it is trained, every weight of it drawn for the configuration's seed.

    Raises `RaynasError` for what cannot be built or trained.
    """
    if config.text is None:
        raise RaynasError(
            "a text cell needs a recipe for texts",
            got=f"the recipe {config.recipe}",
            expected="one with `text:`, as quick-text or darts-ptb",
        )
    if config.text.patience is not None and corpus.train == len(corpus.tokens):
        raise RaynasError(
            "averaging begins by the words held out, and none are",
            got=f"data.valid: {config.data.valid} and text.patience: {config.text.patience}",
            next_step="hold some out (data.valid=0.1), or train without averages (text.patience=null)",
        )
    if corpus.classes < 2:
        raise RaynasError(
            "the vocabulary has no word", got=f"{corpus.name} with data.min_count: {config.data.min_count}"
        )
    skeletons.of(genotype).check_depth(config.cells or 1)
    usual = skeletons.of(genotype).usually(genotype)
    seed = int(stream(config.seed, "weights").initial_seed())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RecurrentNetwork(genotype, corpus.classes, config.channels or usual.channels)
    return TrainedLanguageModel(network, drops, config.text)
