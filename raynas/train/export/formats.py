"""The formats a trained network is exported to: what each writes, and how it is read back to be compared.

What is exported takes images float32 [N, C, H, W] with values from 0 to 1 and gives logits [N, classes]: the
normalisation goes with the network. The batch is free in every format. Of language models see
`raynas.train.export.texts`.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raynas.disk import disk_error, write_atomic
from raynas.errors import RaynasError, short, unknown
from raynas.spaces.genotype import Genotype
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.reading import genotype_from_json
from raynas.train.deployed import Deployed, blank
from raynas.train.export import texts
from raynas.train.export.source import source_of, written_and_run

LARGEST_DIFFERENCE = 1e-4
"""Between an export's logits and the network's, relative to the largest: 7.8e-7 is the most that was seen
in a right one, and a lost batch norm or a wrong pooling is off by more than 1e-2."""

MOST_IMAGES = 4096
"""Images per call that an exported network takes."""


class Normalised(nn.Module):
    """A network behind its normalisation: images with values from 0 to 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.network = deployed.network
        for name, values in (("mean", deployed.card.mean), ("std", deployed.card.std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [N, classes] of images [N, C, H, W]."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""What an export says of images float32 [N, C, H, W]: logits [N, classes]."""


@dataclass(frozen=True)
class Format:
    """One format: the file or folder it becomes, what writes it and returns how to ask it, what it needs.

    ``write_text`` does that for a language model, and is None where there is no such export. ``needs`` names
    modules that the extra ``export`` installs.
    """

    name: str
    file: str
    title: str
    write: Callable[[Deployed, Path], Answer]
    needs: tuple[str, ...] = ()
    write_text: Callable[[Deployed, Path], texts.TextAnswer] | None = None


def write_export(deployed: Deployed, to: str | Format, folder: Path) -> Path:
    """Write a network in one format below ``folder``, and compare it with the network.

    On 1, 2 and 7 images, or texts of 5 words. It gets its name when it is whole and right: nothing is there
    otherwise. Raises `RaynasError` as `check_export` and `check_exported` do, for a full disk, and for an
    export that answers otherwise than the network.
    """
    form = check_export(to, folder)
    check_exported(deployed, form)
    making = folder / f".{form.file}.{os.getpid()}.making"
    try:
        making.mkdir(parents=True)
        answer = _written(form, deployed, making / form.file)
        (_compare_texts if deployed.card.texts else _compare)(deployed, answer)
        for made in sorted(making.iterdir()):
            _check_free(folder / made.name)
        for made in sorted(making.iterdir()):
            made.rename(folder / made.name)
    except OSError as error:
        raise disk_error(error, folder) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder / form.file


def check_export(to: str | Format, folder: Path) -> Format:
    """Return a format that can be written below ``folder``.

    Raises `RaynasError` for an unknown one, for one that needs what is not installed, and where there is
    something of that name already.
    """
    if isinstance(to, str) and to not in FORMATS:
        raise unknown("format", to, FORMATS)
    form = to if isinstance(to, Format) else FORMATS[to]
    if missing := [name for name in form.needs if find_spec(name) is None]:
        raise RaynasError(
            f"the export to {form.name} needs {', '.join(missing)}",
            got="not installed",
            next_step="pip install 'raynas[export]'",
        )
    _check_free(folder / form.file)
    return form


def check_exported(deployed: Deployed, form: Format) -> None:
    """Raise `RaynasError` for a network that a format does not take, and for one that is random."""
    if deployed.card.texts and form.write_text is None:
        able = [name for name, each in FORMATS.items() if each.write_text is not None]
        raise RaynasError(
            f"there is no export of a language model to {form.name}",
            got=f"a network of {deployed.card.data}, whose state goes on from word to word",
            expected=", ".join(able),
        )
    check_deterministic(genotype_from_json(deployed.card.genotype))


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise RaynasError(
            f"{path} is there already", next_step="choose another folder with `--out`, or delete that one"
        )


def _written(form: Format, deployed: Deployed, path: Path) -> Any:
    """Write a network and return how the export answers; whatever an exporter raises is told in one line."""
    write = form.write_text if deployed.card.texts and form.write_text else form.write
    try:
        return write(deployed, path)
    except (RaynasError, OSError):
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise RaynasError(
            f"the export to {form.name} failed",
            got=short(f"{type(error).__name__}: {first}", 200),
            next_step="export to another format, and report this cell",
        ) from error


def check_deterministic(genotype: Genotype) -> None:
    """Raise `RaynasError` for a cell with a random operation: no two calls of its network agree."""
    for kind, choices in genotype.cells:
        for choice in choices:
            if OPERATIONS[choice.op].family == "noise":
                raise RaynasError(
                    "a network with a random operation cannot be exported",
                    got=f"{choice.op} in the {kind} cell, {choice.source} → {choice.target}",
                    expected="operations that give the same output for the same image",
                    next_step="choose another cell: raynas select SWEEP",
                )


@torch.no_grad()
def _compare(deployed: Deployed, answer: Answer) -> None:
    network = Normalised(deployed).eval()
    images = np.random.default_rng(0).random((7, *deployed.card.shape), dtype=np.float32)
    want = network(torch.from_numpy(images)).numpy()
    for count in (1, 2, 7):
        _check_equal(answer(images[:count]), want[:count], f"logits, for {count} images")


def _compare_texts(deployed: Deployed, answer: texts.TextAnswer) -> None:
    random, card = np.random.default_rng(0), deployed.card
    tokens = random.integers(len(card.class_names), size=(7, 5))
    state = random.standard_normal((7, card.channels)).astype(np.float32)
    want = texts.answer_of(deployed.network)(tokens, state)
    for count in (1, 2, 7):
        got = answer(tokens[:count], state[:count])
        for what, one, other in zip(("log-probabilities", "states"), got, want, strict=True):
            _check_equal(one, other[:count], f"{what}, for {count} texts")


def _check_equal(got: NDArray[np.float32], want: NDArray[np.float32], what: str) -> None:
    same = got.shape == want.shape
    off = float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-12)) if same else float("inf")
    if not off < LARGEST_DIFFERENCE:
        raise RaynasError(
            "the export does not compute what the network computes",
            got=f"a difference of {off:.2g} of the largest in its {what}",
            expected=f"less than {LARGEST_DIFFERENCE:g}",
            next_step="export to another format, and report this cell",
        )


def example(deployed: Deployed) -> Tensor:
    """Return two images: with one alone, the exporters take the batch for fixed."""
    return torch.rand(2, *deployed.card.shape, generator=torch.Generator().manual_seed(0))


def _batch() -> Any:
    return ({0: torch.export.Dim("batch", min=1, max=MOST_IMAGES)},)


def _write_program(deployed: Deployed, path: Path) -> Answer:
    program = torch.export.export(Normalised(deployed).eval(), (example(deployed),), dynamic_shapes=_batch())
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(path, buffer.getvalue())
    again = torch.export.load(path).module()
    return lambda images: again(torch.from_numpy(images)).numpy()


def onnx_program(network: nn.Module, images: Tensor, outputs: Sequence[str]) -> torch.onnx.ONNXProgram:
    """Return a network in evaluation mode as ONNX: from ``images`` [N, C, H, W], any N, to the ``outputs``.

    Raises `RaynasError` where PyTorch's exporter gives nothing.
    """
    made = torch.onnx.export(
        network,
        (images,),
        dynamo=True,
        dynamic_shapes=_batch(),
        input_names=["images"],
        output_names=outputs,
        verbose=False,
    )
    if made is None:
        raise RaynasError("PyTorch's exporter returned nothing", next_step="raynas export … --to torch")
    return made


def _write_onnx(deployed: Deployed, path: Path) -> Answer:
    import onnxruntime

    made = onnx_program(Normalised(deployed).eval(), example(deployed), ["logits"])
    made.model.metadata_props["classes"] = json.dumps(list(deployed.card.class_names))
    made.model.metadata_props["genotype"] = json.dumps(deployed.card.genotype)
    write_atomic(path, made.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"images": images})[0]


def _write_source(deployed: Deployed, path: Path) -> Answer:
    network = written_and_run(deployed, path, source_of)
    return lambda images: network(torch.from_numpy(images)).detach().numpy()


def _write_safetensors(deployed: Deployed, path: Path) -> Answer:
    from safetensors.torch import load_file, save

    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in deployed.network.state_dict().items()
    }
    card = {key: json.dumps(value) for key, value in deployed.card.model_dump(mode="json").items()}
    write_atomic(path, save(state, metadata=card))
    again = Normalised(Deployed(deployed.card, blank(deployed.card))).eval()
    again.network.load_state_dict(load_file(path))
    return lambda images: again(torch.from_numpy(images)).detach().numpy()


FORMATS = {
    form.name: form
    for form in (
        Format(
            "torch",
            "network.pt2",
            "a program of torch.export, run without raynas",
            _write_program,
            (),
            texts.write_program,
        ),
        Format(
            "onnx",
            "network.onnx",
            "ONNX, for onnxruntime and others",
            _write_onnx,
            ("onnx", "onnxscript", "onnxruntime"),
            texts.write_onnx,
        ),
        Format(
            "model.py",
            "model.py",
            "a Python file that needs torch alone, and its weights",
            _write_source,
            (),
            texts.write_source,
        ),
        Format(
            "safetensors",
            "network.safetensors",
            "the weights, the card as their metadata",
            _write_safetensors,
            ("safetensors",),
            texts.write_safetensors,
        ),
    )
}
