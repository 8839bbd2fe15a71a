"""A plain supernet, written as the papers describe it: one operation on one edge at a time, one lane.

It shares the fused supernet's parameters (so gradients can be compared parameter by parameter) and nothing
else: every formula is spelled out again in the simplest form.
"""

import torch
import torch.nn.functional as F

KERNELS = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "dil_conv_3x3": 3, "dil_conv_5x5": 5}


def norm(x):
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def separable(x, pair, lane, edge, stride, padding, dilation):
    depth = pair.depthwise[lane, edge].unsqueeze(1)
    point = pair.pointwise[lane, edge][:, :, None, None]
    return F.conv2d(F.conv2d(x, depth, None, stride, padding, dilation, groups=len(depth)), point)


def reduce(x, near, far):
    y = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
    return norm(
        torch.cat(
            [F.conv2d(x, near[:, :, None, None], stride=2), F.conv2d(y, far[:, :, None, None], stride=2)], 1
        )
    )


def apply(name, module, x, lane, edge, stride):
    if name == "max_pool_3x3":
        return norm(F.max_pool2d(x, 3, stride, 1))
    if name == "avg_pool_3x3":
        return norm(F.avg_pool2d(x, 3, stride, 1, count_include_pad=False))
    if name == "skip_connect":
        return x if stride == 1 else reduce(F.relu(x), module.near[lane, edge], module.far[lane, edge])
    kernel = KERNELS[name]
    if name.startswith("dil"):
        return norm(separable(F.relu(x), module.pair, lane, edge, stride, kernel - 1, 2))
    x = norm(separable(F.relu(x), module.first, lane, edge, stride, kernel // 2, 1))
    return norm(separable(F.relu(x), module.second, lane, edge, 1, kernel // 2, 1))


def find(cell, spec, source, target, name):
    """Return the module that computes ``name`` on an edge, and the edge's place in it."""
    names, targets = [], {}
    for edge in spec.edges:
        if edge.source == source:
            for op in edge.ops:
                if op != "none":
                    if op not in names:
                        names.append(op)
                    targets.setdefault(op, []).append(edge.target)
    return cell.fans[source].operations[names.index(name)], targets[name].index(target)


def plain_forward(net, images, weights, lane=0):
    """Return logits [N, classes] of images [N, C, H, W] under weights {kind: [edges, operations]}."""
    space = net.space
    before = x = images
    for index, weight in enumerate(net.stem.convolutions):
        x = F.relu(x) if index else x
        x = norm(F.conv2d(x, weight[lane], stride=net.stem.stride, padding=1))
        scale, shift = net.stem.scales[index][lane], net.stem.shifts[index][lane]
        before, x = x, x * scale[:, None, None] + shift[:, None, None]
        if index == len(net.stem.convolutions) - 2:
            last_but_one = x
    previous = x
    before = x if net.stem.stride == 1 else last_but_one
    for cell in net.cells:
        states = []
        for preprocess, state in zip(cell.inputs, (before, previous), strict=True):
            parts = [weight[lane] for weight in preprocess.weights]
            if len(parts) == 2:
                states.append(reduce(F.relu(state), *parts))
            else:
                states.append(norm(F.conv2d(F.relu(state), parts[0][:, :, None, None])))
        spec = space.cell(cell.kind)
        for node in range(2, 2 + space.nodes):
            total = 0
            for row, edge in enumerate(spec.edges):
                if edge.target != node:
                    continue
                stride = 2 if cell.kind == "reduce" and edge.source < 2 else 1
                for column, name in enumerate(edge.ops):
                    if name != "none":
                        module, place = find(cell, spec, edge.source, edge.target, name)
                        value = apply(name, module, states[edge.source], lane, place, stride)
                        total = total + weights[cell.kind][row, column] * value
            states.append(total)
        before, previous = previous, torch.cat(states[2:], 1)
    return previous.mean((2, 3)) @ net.head[lane].T + net.bias[lane]
