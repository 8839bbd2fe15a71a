"""An operation of your own: x·σ(x), at stride 2 of every other pixel, in two forms that compute the same."""

from pathlib import Path as File

from torch import Tensor, nn

from raynas import Search, SearchConfig, genotype_to_text, load_data, load_space, register_operation, split
from raynas.nets.ops.fused import Shared, Source
from raynas.nets.ops.paths import Path, pick
from raynas.spaces.operations import Family, Operation
from raynas.testing import check_operation


class Swish(Shared):  # in the supernet: computed once for all edges that leave a state
    def once(self, source: Source, path: Path) -> Tensor:
        step = self.stride
        return nn.functional.silu(pick(source.x, self.lanes, path.maps)[:, :, ::step, ::step])


def swish(operation: Operation, channels: int, stride: int, affine: bool) -> nn.Module:  # derived: one edge
    return nn.Sequential(nn.AvgPool2d(1, stride), nn.SiLU())


family = Family("swish", fused=f"{__name__}:Swish", plain=f"{__name__}:swish")
register_operation(Operation("swish", "swish", "x·σ(x)", "sigmoid-weighted linear unit"), family)
check_operation("swish")  # number by number, at strides 1 and 2, on paths, differentiated twice
file = File(__file__).with_suffix(".yaml")
config = SearchConfig(space=str(file), data={"name": "digits", "limit": 160}, epochs=1)
report = next(iter(Search(config, load_space(config.space), split(load_data(config.data), config.data))))
print(genotype_to_text(report.genotype))
