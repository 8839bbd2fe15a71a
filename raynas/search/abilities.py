"""Limits of kinds of devices, told before a search or a training asks for them."""

from typing import Protocol

import torch

from raynas.errors import RaynasError


class Asks(Protocol):
    """A search or a training, as far as a device may fall short of it."""

    @property
    def precision(self) -> str: ...
    @property
    def compile(self) -> bool: ...


def lacks_bfloat16(kind: str) -> str | None:
    """Return why a device of this kind (``cpu``, ``cuda``) should not compute in bfloat16, if so.

    Of a kind that this machine does not have nothing is known.
    """
    if kind == "cuda":
        missing = torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False)
        return "this GPU has no bfloat16 arithmetic" if missing else None
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return None if supported else "this CPU has no bfloat16 arithmetic"


def lacks_compiler(kind: str) -> str | None:
    """Return what torch.compile misses on this machine for a device of this kind, if anything."""
    if kind == "cuda":
        from torch.utils._triton import has_triton

        missing = torch.cuda.is_available() and not has_triton()
        return "torch.compile needs Triton for this GPU, and it is not installed" if missing else None
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler, and none is found (g++, or what CXX names)"
    return None


def check_abilities(config: Asks, device: torch.device) -> None:
    """Raise `RaynasError` when a device cannot do what a search or a training asks of it."""
    reasons = {
        f"precision: {config.precision}": config.precision == "bfloat16" and lacks_bfloat16(device.type),
        "compile: true": config.compile and lacks_compiler(device.type),
    }
    for asked, reason in reasons.items():
        if reason:
            raise RaynasError(
                reason, got=asked, next_step=f"leave {asked.split(':')[0]} out, or change the device"
            )
