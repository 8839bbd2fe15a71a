"""Supernets whose operations grow: every kernel repeats inputs and outputs, undivided."""

import pytest
import torch
from test_supernet import make, random_weights, seeds

from raynas.errors import RaynasError
from raynas.nets.ops.flat import flatten
from raynas.nets.ops.fused import Reduce, Source
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.ops.paths import Path
from raynas.nets.widen import Growth, _weights, growths, widen


def pair(lanes=2, few=6, many=4, **more):
    """Two supernets with 12 channels, of which 1/6 and then 1/4 pass through operations."""
    space, old = make("darts", channels=12, cells=3, lanes=lanes, partial=few, **more)
    _, new = make("darts", channels=12, cells=3, lanes=lanes, partial=many, **more)
    images = torch.randn(lanes, 3, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    run = Pass(Statistics.UPDATE, seeds(lanes), auxiliary=0.5 if more else 0.0)
    old(images, random_weights(space, lanes), run)  # running statistics of its own
    return space, old, new


def generators(lanes=2):
    return [torch.Generator().manual_seed(40 + lane) for lane in range(lanes)]


@pytest.mark.parametrize("statistics", [Statistics.BATCH, Statistics.RUNNING])
@pytest.mark.parametrize("index", [0, 1])
def test_on_repeated_channels_an_operation_gives_what_kernels_that_count_repeats_give(index, statistics):
    _, old, new = pair(auxiliary=True)
    grown = growths(old, new, generators())
    widen(old, new, generators())
    with torch.no_grad():
        for (name, few), many in zip(old.named_parameters(), new.parameters(), strict=True):
            if few.shape[-4:-3] != many.shape[-4:-3]:  # reads all channels of its operation
                for lane, cells in enumerate(grown):
                    few[lane] *= torch.bincount(cells[int(name.split(".")[1])].channels).view(-1, 1, 1)
    run = Pass(statistics, seeds(2))
    few, many = old.cells[index], new.cells[index]
    assert many.channels > few.channels
    maps = [lane[index].channels for lane in grown]
    halves = [torch.cat([lane[index].halves, lane[index].halves + few.channels // 2]) for lane in grown]
    x = torch.randn(3, 2, few.channels, 8, 8, generator=seeds()[0], dtype=torch.float64)
    wide = torch.stack([x[:, lane][:, repeats] for lane, repeats in enumerate(maps)], 1)
    reductions = 0
    for before, after in zip(few.fans, many.fans, strict=True):
        both = [[*fan.operations, fan.auxiliary.operation] for fan in (before, after)]
        for one, other in zip(*both, strict=True):
            out = [
                operation(
                    Source(state.flatten(1, 2), run, 2),
                    torch.ones(2 * operation.edges * operation.channels, dtype=torch.float64),
                    Path(2, spread=torch.tensor([0, 1]).repeat_interleave(operation.edges)),
                ).unflatten(1, (2, operation.edges, -1))
                for operation, state in ((one, x), (other, wide))
            ]
            reductions += isinstance(one, Reduce)
            for lane, repeats in enumerate(halves if isinstance(one, Reduce) else maps):
                expected = out[0][:, lane][:, :, repeats]
                torch.testing.assert_close(out[1][:, lane], expected, rtol=1e-9, atol=1e-9)
    assert reductions == (4 if index else 0)


def test_a_kernel_is_repeated_as_the_authors_code_does():
    # A 1×1 convolution of 2 channels that gets a third: xiangning-chen/DrNAS at f2caa4d, net2wider.py,
    # InChannelWider(conv, 3, index=[1]), then OutChannelWider(conv, 3, index=[1]).
    kernel = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    repeats = Growth(torch.tensor([0, 1, 1]), torch.tensor([0]))
    place = _weights(
        torch.arange(4).view(1, 2, 2, 1, 1), torch.Size((1, 3, 3, 1, 1)), {0: repeats}, "cells.0"
    )
    widened = kernel.flatten()[place].flatten().tolist()
    assert widened == [1, 2, 2, 3, 4, 4, 3, 4, 4]


def test_what_does_not_grow_is_kept_and_the_map_gives_all_parameters():
    _, old, new = pair()
    mapped = widen(old, new, generators())
    flat = flatten([p.detach() for p in old.parameters()])
    assert torch.equal(mapped(flat), flatten([p.detach() for p in new.parameters()]))
    shared = [(p, q) for p, q in zip(old.parameters(), new.parameters(), strict=True) if p.shape == q.shape]
    assert 0 < len(shared) < len(list(old.parameters()))
    assert all(torch.equal(p, q) for p, q in shared)
    assert torch.equal(old.stem.norms[0].mean, new.stem.norms[0].mean)


def test_a_lane_grows_as_it_would_alone():
    _, old, new = pair()
    widen(old, new, generators())
    _, first, alone = pair(lanes=1)
    first.load_state_dict({name: tensor[:1] for name, tensor in old.state_dict().items()})
    widen(first, alone, generators(1))
    both = zip(alone.state_dict().values(), new.state_dict().values(), strict=True)
    assert all(torch.equal(mine, pack[:1]) for mine, pack in both)
    maps = [lane[0].channels for lane in growths(old, new, generators())]
    assert all(lane[:2].tolist() == [0, 1] for lane in maps)


def test_the_same_share_of_the_channels_is_a_copy():
    _, old, new = pair(few=4, many=4)
    widen(old, new, generators())
    both = zip(old.state_dict().values(), new.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in both)


def test_growing_less_or_another_supernet_is_refused():
    _, old, new = pair()
    with pytest.raises(RaynasError, match="takes over weights"):
        widen(new, old, generators())
    with pytest.raises(RaynasError, match="takes over weights"):
        widen(old, make("s3", channels=12, lanes=2)[1], generators())
