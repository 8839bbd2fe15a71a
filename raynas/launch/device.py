"""Which device a trial computes on, how much of it, and what pins its numbers there."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import torch

from raynas.config import SearchConfig
from raynas.errors import RaynasError
from raynas.train.config import TrainConfig

HEADROOM = 0.92
"""Part of its share that a trial's tensors may fill: the CUDA context and libraries need the rest."""


def local_device(name: str) -> torch.device:
    """Return the device for a search in this process; ``auto`` is CUDA if there is any, else the CPU.

    Raises `RaynasError` when CUDA is asked for and missing.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RaynasError(
            "there is no CUDA device",
            got="--device cuda",
            expected="a GPU that torch can use",
            next_step="--device cpu",
        )
    return torch.device(name)


def trial_device(share: float) -> torch.device:
    """Return the device that Ray gave to the trial that calls this, its memory fenced to ``share`` of it.

    A trial that was given no GPU gets the CPU although it may see CUDA: with 0 GPUs Ray leaves
    ``CUDA_VISIBLE_DEVICES`` unset. GPUs that only Ray believes in raise `RaynasError`, unless the
    environment has ``RAYNAS_ALLOW_LOGICAL_GPU=1``, as tests do; the CPU then stands in.
    """
    import ray

    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        if os.environ.get("RAYNAS_ALLOW_LOGICAL_GPU") == "1":
            return torch.device("cpu")
        raise RaynasError(
            "Ray gave this trial a GPU, but torch cannot use it",
            got=f"torch {torch.__version__}, CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}",
            expected="a CUDA build of torch and a driver that fits it on every GPU node",
            next_step="python -c 'import torch; torch.cuda.init()' on that node, or resources.gpu=0",
        )
    if share < 1:
        fence_memory(share)
    return torch.device("cuda:0")


def fence_memory(share: float) -> None:
    """Limit the tensors of this process to ``share`` of the GPU, less `HEADROOM`'s rest.

    Ray only keeps the books: without a fence one greedy trial takes its neighbours' memory. What a process
    asks for beyond it raises `torch.OutOfMemoryError` in that process and in no other.
    """
    torch.cuda.set_per_process_memory_fraction(HEADROOM * share, 0)


def memory_share(device: torch.device, share: float) -> float:
    """Return the MiB that the tensors of one trial may fill: of its GPU, or of what this machine has free.

    ``share`` is the trial's part of the GPU, or one over the number of trials at once on a CPU.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return HEADROOM * min(share, 1.0) * total / 2**20
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):  # a container's own limit; "max" for none
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        free.append(int(Path("/sys/fs/cgroup/memory.max").read_text()) - used)
    return HEADROOM * share * min(free) / 2**20


def make_deterministic(config: SearchConfig | TrainConfig) -> None:
    """Pin what would change a search's numbers from outside: CPU threads and the choice of kernels."""
    # cuBLAS reads this when it first makes a handle; without it torch refuses to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic


def only_loopback() -> None:
    """Let the processes of a training, all on this machine, speak to each other on its loopback alone."""
    for _, name in socket.if_nameindex():
        if name.startswith("lo"):
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = name
            return
