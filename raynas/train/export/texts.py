"""A trained language model in each format: what writes it, and how it is read back to be compared.

PyTorch's and ONNX's programs read one word of each stream a call, for a loop over words would be unrolled to
a fixed length: tokens int64 [N] and the state float32 [N, channels] go in, the logarithms of the next word's
probabilities [N, words] and the state to go on from come out. A stream begins with zeros. The file of Python
reads whole texts.
"""

import io
import json
import pprint
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raynas.disk import write_atomic
from raynas.errors import RaynasError
from raynas.nets.networks.recurrent import RecurrentNetwork
from raynas.spaces.graph import Choice
from raynas.train.deployed import Deployed, blank
from raynas.train.export.source import harmless, written_and_run

Numbers = NDArray[np.float32]
TextAnswer = Callable[[NDArray[np.int64], Numbers], tuple[Numbers, Numbers]]
"""What an export says of tokens [N, T] after a state [N, channels]: log-probabilities and the state then."""

MOST_STREAMS = 4096
"""Streams per call that an exported program takes."""

INPUTS, OUTPUTS = ("tokens", "state"), ("log_probabilities", "next_state")


class Step(nn.Module):
    """A language model, word by word."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.network = deployed.network

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities [N, words] of what follows tokens [N], and the next state."""
        logits, after = self.network(tokens.unsqueeze(1), state)
        return logits[:, 0].log_softmax(1), after


def answer_of(network: nn.Module) -> TextAnswer:
    """Return how a network in raynas answers."""

    def answer(tokens: NDArray[np.int64], state: Numbers) -> tuple[Numbers, Numbers]:
        with torch.no_grad():
            logits, after = network(torch.from_numpy(tokens), torch.from_numpy(state))
        return logits.log_softmax(2).numpy(), after.numpy()

    return answer


def _by_words(step: Callable[[NDArray[np.int64], Numbers], Sequence[Any]]) -> TextAnswer:
    def answer(tokens: NDArray[np.int64], state: Numbers) -> tuple[Numbers, Numbers]:
        said = []
        for word in tokens.T:
            found, state = (np.asarray(each) for each in step(np.ascontiguousarray(word), state))
            said.append(found)
        return np.stack(said, 1), state

    return answer


def _example(deployed: Deployed) -> tuple[Tensor, Tensor]:
    """Return a word of two streams: of one alone, the exporters take their number for fixed."""
    return torch.tensor([0, 1]), torch.zeros(2, deployed.card.channels)


def _streams() -> Any:
    streams = torch.export.Dim("streams", min=1, max=MOST_STREAMS)
    return ({0: streams}, {0: streams})


def write_program(deployed: Deployed, path: Path) -> TextAnswer:
    """Write a program of torch.export."""
    program = torch.export.export(
        Step(deployed).eval(), _example(deployed), dynamic_shapes=_streams(), strict=False
    )
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(path, buffer.getvalue())
    again = torch.export.load(path).module()

    def step(tokens: NDArray[np.int64], state: Numbers) -> Sequence[Any]:
        with torch.no_grad():
            return tuple(again(torch.from_numpy(tokens), torch.from_numpy(state)))

    return _by_words(step)


def write_onnx(deployed: Deployed, path: Path) -> TextAnswer:
    """Write ONNX; its metadata hold the vocabulary and the cell."""
    import onnxruntime

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name")  # both inputs have the same
        made = torch.onnx.export(
            Step(deployed).eval(),
            _example(deployed),
            dynamo=True,
            dynamic_shapes=_streams(),
            input_names=INPUTS,
            output_names=OUTPUTS,
            verbose=False,
        )
    if made is None:
        raise RaynasError("PyTorch's exporter returned nothing", next_step="raynas export … --to torch")
    made.model.metadata_props["classes"] = json.dumps(list(deployed.card.class_names))
    made.model.metadata_props["genotype"] = json.dumps(deployed.card.genotype)
    write_atomic(path, made.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return _by_words(
        lambda tokens, state: session.run(OUTPUTS, dict(zip(INPUTS, (tokens, state), strict=True)))
    )


def write_safetensors(deployed: Deployed, path: Path) -> TextAnswer:
    """Write the weights, the card as their metadata."""
    from safetensors.torch import load_file, save

    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in deployed.network.state_dict().items()
    }
    card = {key: json.dumps(value) for key, value in deployed.card.model_dump(mode="json").items()}
    write_atomic(path, save(state, metadata=card))
    again = blank(deployed.card).eval()
    again.load_state_dict(load_file(path))
    return answer_of(again)


_SOURCE = '''"""{title}

Tokens are int64 [N, T], places in WORDS; out come the logarithms of the probabilities [N, T, {words}] of the
word after each, and the state [N, {channels}] to go on from.

    import model
    network = model.load("{weights}")
    said, state = network(model.numbers("the cell reads").unsqueeze(0))
    said, state = network(model.numbers("a text").unsqueeze(0), state)
"""

import torch
import torch.nn.functional as F
from torch import nn

WORDS = {names}


def numbers(text):
    """Return the places of a text's words, which white space parts, in WORDS; unknown ones have the first."""
    places = {{word: place for place, word in enumerate(WORDS)}}
    unknown = places.get("<unk>", 0)
    return torch.tensor([places.get(word, unknown) for word in text.split()])


class Cell(nn.Module):
    """A recurrent cell between an embedding and, with the same weights, the last layer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros({words}, {channels}))
        self.bias = nn.Parameter(torch.zeros({words}))
        self.first = nn.Parameter(torch.zeros({double}, {double}))
        self.nodes = nn.Parameter(torch.zeros({nodes}, {channels}, {double}))

    def step(self, word, state):
{steps}

    def forward(self, tokens, state=None):
        words = F.embedding(tokens, self.embedding)
        state = words.new_zeros(len(tokens), {channels}) if state is None else state
        outputs = []
        for word in words.unbind(1):
            state = self.step(word, state)
            outputs.append(state)
        logits = F.linear(torch.stack(outputs, 1), self.embedding, self.bias)
        return logits.log_softmax(2), state


def load(weights):
    """Return the network with the weights of a file, ready to be asked."""
    network = Cell()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
'''

_FUNCTIONS = {"tanh": "torch.tanh(new)", "relu": "torch.relu(new)", "sigmoid": "torch.sigmoid(new)"}


def text_source_of(deployed: Deployed, weights: str) -> str:
    """Return the text of a file of Python that needs torch alone; ``weights`` is what its example loads."""
    card, network = deployed.card, cast("RecurrentNetwork", deployed.network)
    cell = card.genotype.get("space", "")
    return _SOURCE.format(
        title=f"A cell of {cell} as a language model: {card.channels} units, {harmless(card.data)}.",
        words=len(card.class_names),
        channels=card.channels,
        double=2 * card.channels,
        nodes=len(network.nodes),
        weights=weights,
        names=pprint.pformat(list(card.class_names), width=108, compact=True),
        steps=indent("\n".join(_steps(network)), " " * 8),
    )


def _steps(network: RecurrentNetwork) -> list[str]:
    """Return the lines of a cell's step: its first state, each node, the mean of those that are output."""
    lines = [
        "gate, new = (torch.cat([word, state], 1) @ self.first).chunk(2, 1)",
        "state0 = state + torch.sigmoid(gate) * (torch.tanh(new) - state)",
    ]
    for node in range(1, len(network.nodes) + 1):
        read = [each for each in network.choices if each.target == node and each.op != "none"]
        lines += [line for choice in read for line in _edge(choice, len(read))]
        names = [_name(choice, len(read)) for choice in read]
        if len(read) != 1:
            lines.append(f"state{node} = {' + '.join(names) or 'torch.zeros_like(state)'}")
    outputs = ", ".join(f"state{state}" for state in network.outputs)
    return [*lines, f"return torch.stack([{outputs}]).mean(0)"]


def _edge(choice: Choice, count: int) -> list[str]:
    read, function = f"state{choice.source}", _FUNCTIONS.get(choice.op, "new")
    return [
        f"gate, new = ({read} @ self.nodes[{choice.target - 1}]).chunk(2, 1)",
        f"{_name(choice, count)} = {read} + torch.sigmoid(gate) * ({function} - {read})",
    ]


def _name(choice: Choice, count: int) -> str:
    own = f"state{choice.target}"
    return own if count == 1 else f"{own}_{choice.op}_{choice.source}"


def write_source(deployed: Deployed, path: Path) -> TextAnswer:
    """Write a readable file of Python, and its weights beside it."""
    network = written_and_run(deployed, path, text_source_of)

    def answer(tokens: NDArray[np.int64], state: Numbers) -> tuple[Numbers, Numbers]:
        with torch.no_grad():
            said, after = network(torch.from_numpy(tokens), torch.from_numpy(state))
        return said.numpy(), after.numpy()

    return answer
