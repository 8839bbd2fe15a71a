"""A part of your own: a small class whose fields are its settings, here a relaxation with exact zeros."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, arange

from raynas import Search, SearchConfig, load_data, load_method, load_space, register_method, split
from raynas.bilevel.slots import Relaxation


@dataclass(frozen=True)
class Sparsemax(Relaxation):
    """Euclidean projection of scale·α onto the simplex (Martins, Astudillo 2016, algorithm 1)."""

    use: ClassVar[str] = "sparsemax"
    shift_free: ClassVar[bool] = True
    scale: float = 1.0

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        high = (z := (self.scale * logits).masked_fill(~mask, -1e4)).sort(-1, descending=True).values
        kept = (1 + arange(1, z.shape[-1] + 1) * high > high.cumsum(-1)).sum(-1, keepdim=True)
        return (z - (high.cumsum(-1).gather(-1, kept - 1) - 1) / kept).clamp(min=0) * mask


register_method(load_method("darts").with_("sparse-darts", "sparse", relaxation=Sparsemax(scale=200)))
config = SearchConfig(space="tiny", method="sparse-darts", data={"name": "digits", "limit": 160}, epochs=2)
search = Search(config, load_space(config.space), split(load_data(config.data), config.data))
print([report.weights["normal"][0] for report in search])
