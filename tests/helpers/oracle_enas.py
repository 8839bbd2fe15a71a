"""The plain supernets of NASNet's and ENAS' spaces, one lane and one operation at a time: see `oracle`."""

import torch
import torch.nn.functional as F

from helpers.oracle import apply, conv, norm, reduce


def stem(net, images, lane):
    x = norm(conv(images, net.stem.convolutions[0][lane]))
    return x * net.stem.scales[0][lane][:, None, None] + net.stem.shifts[0][lane][:, None, None]


def brought(module, x, lane, stride):
    """A state as a cell reads it: the resolution divided by ``stride`` on the way in."""
    weights = [weight[lane] for weight in module.weights]
    if stride == 1:
        return norm(conv(F.relu(x), weights[0]))
    if stride == 2:
        return reduce(F.relu(x), *weights)
    near, far = (F.relu(x)[:, :, first::stride, first::stride] for first in (0, 1))
    return norm(torch.cat([conv(near, weights[0]), conv(far, weights[1])], 1))


def mixed(choice, ops, x, weights, lane):
    modules = choice.fan.operations
    values = [apply(name, module, x, lane, 0, 1) for name, module in zip(ops, modules, strict=True)]
    return sum(w * v for w, v in zip(weights, values, strict=False))


def pairs_stack(net, images, weights, lane):
    before = previous = stem(net, images, lane)
    reduced_before = False
    for cell in net.cells:
        spec, halve = net.space.cell(cell.kind), cell.kind == "reduce"
        stride = 2 if halve else 1
        strides = [stride * 2 if reduced_before else stride, stride]
        states = [
            brought(module, x, lane, s)
            for module, x, s in zip(cell.inputs, (before, previous), strides, strict=True)
        ]
        operations, inputs = weights[f"{cell.kind}-operations"], weights[f"{cell.kind}-inputs"]
        row, unread = 0, [1.0] * (2 + net.space.nodes)
        for block in range(2, 2 + net.space.nodes):
            total = 0
            for _ in range(2):
                read = sum(inputs[row, s] * states[s] for s in range(block))
                ops = spec.into(block)[0].ops
                total = total + mixed(cell.slots[row], ops, read, operations[row], lane)
                for s in range(block):
                    unread[s] = unread[s] * (1 - inputs[row, s])
                row += 1
            states.append(total)
        out = torch.cat([u * state for u, state in zip(unread, states, strict=True)], 1)
        before, previous, reduced_before = previous, out, halve
    return previous


def macro_stack(net, images, weights, lane):
    [layers], count = net.cells, net.space.nodes
    ops = net.space.cell("normal").into(1)[0].ops
    states, bit = [stem(net, images, lane)], 0
    for layer in range(1, count + 1):
        total = mixed(layers.operations[layer - 1], ops, states[-1], weights["operations"][layer - 1], lane)
        for state in states[: layer - 1]:
            total = total + weights["skips"][bit, 1] * state
            bit += 1
        states.append(norm(total))
        if layer in (count // 3, 2 * (count // 3)):
            pools = layers.poolings[str(layer)]
            states = [brought(pools[str(place)], state, lane, 2) for place, state in enumerate(states)]
    return states[-1]
