"""Peak memory of a process or a device, in MiB."""

import resource
import sys

import torch


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement; on a CPU the system keeps the process's peak, which cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """Return the most memory tensors have taken on a GPU since the reset, or the process's peak on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
