"""A trained network as one readable Python file that needs torch alone.

Every module of the network is written as it is built, and every forward pass as torch.fx traces it, so the
file computes what the network computes, whatever its skeleton, and takes the same state.
"""

import re
from collections.abc import Callable, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Parameter, signature
from pathlib import Path
from textwrap import indent
from typing import Any

import torch
from torch import fx, nn

from raynas.disk import write_atomic
from raynas.errors import RaynasError
from raynas.search.checkpoint import dump
from raynas.train.deployed import Card, Deployed

_HEAD = '''"""{title}

Images are float32 [N, {channels}, {height}, {width}] with values from 0 to 1; logits [N, {classes}] come out.

    import torch, model
    network = model.load("{weights}")
    network(images).softmax(1)
"""

import torch
from torch import nn

CLASSES = {names!r}
MEAN = {mean!r}
STD = {std!r}


class Block(nn.Module):
    """A module made of others."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


'''

_BUILD = '''

def build():
    """Return the network, its weights drawn anew."""
    return '''

_TAIL = '''

class Normalised(nn.Module):
    """The network behind the normalisation that it was trained with."""

    def __init__(self):
        super().__init__()
        self.network = build()
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, images):
        return self.network((images - self.mean) / self.std)


def load(weights):
    """Return the network with the weights of a file, ready to be asked."""
    network = Normalised()
    network.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
'''


def source_of(deployed: Deployed, weights: str) -> str:
    """Return the text of the file; ``weights`` is what its example loads."""
    card = deployed.card
    writer = _Writer()
    built = writer.expression(deployed.network)
    body = "".join(f"\n{text}\n" for text in writer.classes.values())
    return f"{_head(card, weights)}{body}{_BUILD}{built}\n{_TAIL}"


def harmless(text: str) -> str:
    """Return a text that may stand in a docstring: a card may say anything, and the file is run."""
    return re.sub(r"[^\w .,:/+-]", "_", text)


def _head(card: Card, weights: str) -> str:
    channels, height, width = card.image_shape()
    cell, data = card.genotype.get("space", ""), harmless(card.data)
    return _HEAD.format(
        title=f"A cell of {cell} as a network: {card.cells} deep, {card.channels} channels, {data}.",
        channels=channels,
        height=height,
        width=width,
        classes=len(card.class_names),
        weights=weights,
        names=list(card.class_names),
        mean=list(card.mean),
        std=list(card.std),
    )


class _Writer:
    """Writes modules as expressions, and remembers the classes that these need: a class per forward pass."""

    def __init__(self) -> None:
        self.classes: dict[str, str] = {}

    def expression(self, module: nn.Module, depth: int = 1) -> str:
        """Return an expression that builds an equal module."""
        if isinstance(module, nn.Sequential | nn.ModuleList):
            kind = "nn.ModuleList" if isinstance(module, nn.ModuleList) else "nn.Sequential"
            inner = [self.expression(child, depth + 1) for child in module]
            return _call(kind, ["[", *inner, "]"] if kind == "nn.ModuleList" else inner, depth)
        if isinstance(module, nn.ModuleDict):
            inner = [f"{name!r}: {self.expression(child, depth + 1)}" for name, child in module.items()]
            return _call("nn.ModuleDict", ["{", *inner, "}"], depth)
        if type(module).__module__.startswith("torch.nn"):
            return _constructor(module)
        inner = [f"{name}={self.expression(child, depth + 1)}" for name, child in module.named_children()]
        return _call(self._class_of(module), inner, depth)

    def _class_of(self, module: nn.Module) -> str:
        """Return the name of the class of a module's forward pass."""
        forward = _forward(module)
        base = type(module).__name__
        for number in range(1, len(self.classes) + 2):
            name = base if number == 1 else f"{base}{number}"
            text = f"\nclass {name}(Block):\n{indent(forward, '    ')}"
            if self.classes.setdefault(name, text) == text:
                return name
        raise AssertionError("a name is left for every class")


_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def _constructor(module: nn.Module) -> str:
    """Return the call that makes an equal module of torch: every argument that is not its default.

    Not what it prints: average pooling does not print whether it counts padding.
    """
    arguments = []
    for name, parameter in list(signature(type(module).__init__).parameters.items())[1:]:
        if name in {"device", "dtype"} or parameter.kind in _VARIABLE:
            continue
        value = getattr(module, name)
        value = value is not None if name == "bias" else value
        if parameter.default is Parameter.empty:
            arguments.append(repr(value))
        elif value != parameter.default and not (name == "stride" and value == module.kernel_size):
            arguments.append(f"{name}={value!r}")
    return f"nn.{type(module).__name__}({', '.join(arguments)})"


def _call(name: str, arguments: list[str], depth: int) -> str:
    """Return a call on one line where that is short, else an argument per line."""
    opening, closing = "(", ")"
    if arguments and arguments[0] in "[{":
        opening, closing = "(" + arguments[0], arguments[-1] + ")"
        arguments = arguments[1:-1]
    line = f"{name}{opening}{', '.join(arguments)}{closing}"
    if len(line) + 4 * depth < 110 and "\n" not in line:
        return line
    space = "    " * (depth + 1)
    return (
        f"{name}{opening}\n" + "".join(f"{space}{each},\n" for each in arguments) + "    " * depth + closing
    )


class _Tracer(fx.Tracer):
    """Traces one module's own forward pass; the modules that it calls stay calls."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _forward(module: nn.Module) -> str:
    """Return the text of a module's forward pass, as a method."""
    with torch.no_grad():
        graph = _Tracer().trace(module)
    graph = fx.GraphModule(module, graph).graph
    graph.eliminate_dead_code()
    code = graph.python_code("self").src
    code = re.sub(r"(?m);?\s*\w+ = (?:\w+ = )*None$", "", code)  # fx frees what is not read again
    code = re.sub(r"\s*# [^\n]*", "", code)
    code = re.sub(r'getattr\(self\.([\w.]+), "(\w+)"\)', lambda found: _item(module, found), code)
    names = ", ".join(node.name for node in graph.nodes if node.op == "placeholder")
    lines = [line for line in code.strip().splitlines()[1:] if line.strip()]
    return "\n".join([f"def forward(self, {names}):", *lines])


def _item(module: nn.Module, found: "re.Match[str]") -> str:
    """Return how a module of a list or a mapping is named in Python."""
    container: Any = module.get_submodule(found[1])
    key = repr(found[2]) if isinstance(container, Mapping | nn.ModuleDict) else found[2]
    return f"self.{found[1]}[{key}]"


def written_and_run(deployed: Deployed, path: Path, source: Callable[[Deployed, str], str]) -> Any:
    """Write a file of Python and its weights beside it; return the network that the file loads.

    ``source`` gives the text, with the name of the file of weights.
    """
    weights = path.with_name("weights.pt")
    write_atomic(weights, dump({k: v.detach().cpu() for k, v in deployed.network.state_dict().items()}))
    write_atomic(path, source(deployed, weights.name).encode())
    spec = spec_from_file_location("raynas_exported_model", path)
    if spec is None or spec.loader is None:
        raise RaynasError(f"cannot run {path}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(str(weights))
