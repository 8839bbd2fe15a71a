"""The stages of a search before it starts, and what does not fit in them."""

import math
from collections.abc import Mapping
from typing import Any

from raynas.bilevel.exchange import Stage
from raynas.errors import RaynasError
from raynas.methods.record import Method
from raynas.spaces.space import Space


def lay_out(method: Method, space: Space, values: Mapping[str, Any]) -> tuple[Stage, ...]:
    """Return the stages of a search with these values: ``epochs``, ``warmup``, ``cells``, ``channels``.

    Raises `RaynasError` when there are too few epochs for the stages, when α would rest for all of one, or
    when partial channels do not divide the channels.
    """
    cells = values.get("cells") or space.default_cells
    channels = values.get("channels") or space.default_channels
    epochs = values["epochs"]
    stages = (Stage(epochs),) if method.stages is None else method.stages.plan(epochs, space, cells)
    builds = [*(modifier.build() for modifier in method.modifiers), *(stage.build for stage in stages)]
    shares = {build.partial for build in builds if build.partial is not None}
    if any(channels % share for share in shares):
        step = math.lcm(*shares)
        near = sorted({max(channels // step, 1) * step, (channels // step + 1) * step})
        raise RaynasError(
            "partial-channels needs channels that its k divides",
            got=f"channels: {channels}, k: {', '.join(map(str, sorted(shares)))}",
            expected=f"a multiple of {step}: {' or '.join(map(str, near))}",
        )
    trained = [stage.epochs for stage in stages if stage.rate is None]
    warmup = values.get("warmup", 0)
    if len(trained) > 1 and warmup >= min(trained):
        raise RaynasError(
            "α is never trained in a stage",
            got=f"warmup: {warmup} in stages of {', '.join(map(str, trained))} epochs",
            expected=f"warmup below {min(trained)}: it counts in every stage anew",
        )
    return stages
