"""A penalty on weights of your own. In a trial file: `weight_penalties: {use: "own_penalty:Filters"}`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, stack

from raynas import Search, SearchConfig, load_data, load_method, load_space, register_method, split
from raynas.bilevel.slots import WeightPenalty


@dataclass(frozen=True)
class Filters(WeightPenalty):
    """The group lasso: Σ √n·‖w‖ over filters of n weights, which end at 0 as a whole (Yuan, Lin 2006)."""

    use: ClassVar[str] = "filters"
    strength: float = 1e-4

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        filters = [each.flatten(-3) for each in weights.values() if each.dim() > 4]
        norms = [each.shape[-1] ** 0.5 * each.norm(dim=-1).flatten(1).sum(1) for each in filters]
        return self.strength * stack(norms).sum(0)


if __name__ == "__main__":
    register_method(load_method("darts").with_("thin", "few filters", weight_penalties=(Filters(1e-2),)))
    config = SearchConfig(space="tiny", method="thin", data={"name": "digits", "limit": 160}, epochs=2)
    search = Search(config, load_space(config.space), split(load_data(config.data), config.data))
    print([f"{report.valid_loss:.2f}" for report in search])
