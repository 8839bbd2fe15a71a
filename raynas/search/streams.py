"""Random streams: one seed, many independent generators, each with a name.

Every consumer of randomness has a stream of its own, so that switching one of them on or off (measuring
curvature, say) cannot change what another one draws.
"""

import zlib

import numpy as np
import torch


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return the generator called ``name`` of the search seeded by ``seed``, always in the same state."""
    # crc32 and not hash(): Python salts its hashes of text anew in every process. SeedSequence mixes, so that
    # seeds 0, 1, 2 have nothing in common, nor have the names of one seed.
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))
    number = int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(number)
