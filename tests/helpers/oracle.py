"""A plain supernet, written as the papers describe it: one operation on one edge at a time, one lane.

It shares the fused supernet's parameters (so gradients can be compared parameter by parameter) and nothing
else: every formula is spelled out again in the simplest form.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

from raynas.spaces import skeletons

KERNELS = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "sep_conv_7x7": 7, "dil_conv_3x3": 3, "dil_conv_5x5": 5}


@dataclass
class Extras:
    """What a method adds to the edges of one lane; ``drops`` is that lane's own generator."""

    offsets: dict = field(default_factory=dict)
    carry: dict = field(default_factory=dict)
    drop_path: float = 0.0
    skip_dropout: float = 0.0
    auxiliary: float = 0.0
    drops: torch.Generator | None = None

    def draw(self, state, channels, targets, skips):
        """Return the masks of all edges out of a state: [N, targets], and [N, H, W, targets, channels]."""
        n, _, height, width = state.shape
        paths = entries = None
        if self.drop_path:
            drawn = torch.rand(n, targets, generator=self.drops)
            paths = (drawn >= self.drop_path).to(state) / (1 - self.drop_path)
        if self.skip_dropout and skips:
            drawn = torch.rand(n, height, width, targets, channels, generator=self.drops)
            entries = (drawn >= self.skip_dropout).to(state) / (1 - self.skip_dropout)
        return paths, entries


EPSILON = ContextVar("EPSILON", default=1e-5)
"""What the batch norms of the space in hand add to the variance."""


def norm(x, epsilon=None):
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + (epsilon or EPSILON.get()))


def conv(x, weight, stride=1):
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)


def separable(x, pair, lane, edge, stride, padding, dilation):
    depth = pair.depthwise[lane, edge].transpose(0, 1)
    point = pair.pointwise[lane, edge]
    return F.conv2d(F.conv2d(x, depth, None, stride, padding, dilation, groups=len(depth)), point)


def reduce(x, near, far):
    y = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
    return norm(torch.cat([F.conv2d(x, near, stride=2), F.conv2d(y, far, stride=2)], 1))


def apply(name, module, x, lane, edge, stride):
    if "pool" in name:
        side = int(name[-1])
        window = (side, stride, side // 2)
        pooled = F.max_pool2d(x, *window) if name[:3] == "max" else F.avg_pool2d(x, *window, False, False)
        return pooled if module.norm is None else norm(pooled)
    if name.startswith("nor_conv"):
        return norm(conv(F.relu(x), module.weight[lane, edge], stride))
    if name in ("conv_1x3_3x1", "conv_1x7_7x1"):
        far = int(name[-3]) // 2
        x = F.conv2d(F.relu(x), module.across[lane, edge], None, (1, stride), (0, far))
        return norm(F.conv2d(x, module.down[lane, edge], None, (stride, 1), (far, 0)))
    if name == "bottleneck_1x7_7x1":
        for weight in (each[lane, edge] for each in module.weights):
            high, wide = weight.shape[2:]
            steps = (stride if high > 1 else 1, stride if wide > 1 else 1)
            x = norm(F.conv2d(F.relu(x), weight, None, steps, (high // 2, wide // 2)))
        return x
    if name.endswith("-bn-relu"):
        return F.relu(norm(conv(x, module.weight[lane, edge], stride)))
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


def plain_forward(net, images, weights, lane=0, extras=None):
    """Return logits [N, classes] of images [N, C, H, W] under weights {group of α: [rows, options]}."""
    from helpers.oracle_enas import macro_stack, pairs_stack

    stacks = {
        "residual": residual_stack,
        "blocks": blocks_stack,
        "pairs": pairs_stack,
        "amoeba": pairs_stack,
        "macro": macro_stack,
        "chain": chain_stack,
        "dense": dense_stack,
    }
    stacks |= {f"darts{variant}": darts_stack for variant in ("", "-reducing", "-skipping")}
    stacks["darts-reducing-skipping"] = darts_stack
    EPSILON.set(skeletons.of(net.space).epsilon)
    stack = stacks[net.space.skeleton]
    more = [] if extras is None else [extras]
    return stack(net, images, weights, lane, *more).mean((2, 3)) @ net.head[lane].T + net.bias[lane]


def scaled_norm(module, x, lane, epsilon=1e-5):
    return norm(x, epsilon) * module.scale[lane][:, None, None] + module.shift[lane][:, None, None]


def residual_stack(net, images, weights, lane, extras=None):
    extras = extras or Extras()
    x = norm(conv(images, net.stem.convolutions[0][lane]))
    x = x * net.stem.scales[0][lane][:, None, None] + net.stem.shifts[0][lane][:, None, None]
    spec = net.space.cell("normal")
    for cell in net.cells:
        if hasattr(cell, "block"):
            block = cell.block
            y = scaled_norm(block.norm_first, conv(F.relu(x), block.first[lane], 2), lane)
            y = scaled_norm(block.norm_second, conv(F.relu(y), block.second[lane]), lane)
            x = y + conv(F.avg_pool2d(x, 2, ceil_mode=True), block.shortcut[lane])
            continue
        states = [x]
        for node in range(1, 1 + net.space.nodes):
            total = torch.zeros_like(x)
            for row, edge in enumerate(spec.edges):
                if edge.target == node:
                    total = total + edge_sum(net, cell, row, states, weights, (None, None), lane, extras)
            states.append(total)
        x = states[-1]
    return F.relu(scaled_norm(net.tail.norm, x, lane))


def blocks_stack(net, images, weights, lane):
    x = norm(conv(images, net.stem.convolutions[0][lane]))
    x = F.relu(x * net.stem.scales[0][lane][:, None, None] + net.stem.shifts[0][lane][:, None, None])
    blocks, free = net.space.nodes, [row.name for group in skeletons.groups(net.space) for row in group.rows]
    for cell in net.cells:
        if hasattr(cell, "block"):
            x = F.max_pool2d(x, 2, 2, 1)
            continue
        width = cell.channels
        projected = F.relu(norm(conv(x, cell.projections[lane])))
        states = []
        chosen = 0
        for block in range(1, blocks + 1):
            read = [projected[:, width * (block - 1) : width * block], *states]
            if f"block {block}: parents" in free:
                read = [w * state for w, state in zip(weights["inputs"][chosen], read, strict=False)]
                chosen += 1
            total = sum(read[1:], read[0])
            ops = net.space.cell("normal").into(block)[0].ops
            values = [
                apply(name, module, total, lane, 0, 1)
                for name, module in zip(ops, cell.blocks[block - 1].fan.operations, strict=True)
            ]
            weighted = [w * v for w, v in zip(weights["operations"][block - 1], values, strict=True)]
            states.append(sum(weighted[1:], weighted[0]))
        first, *others = weights["output"][0]
        parts = [w * state for w, state in zip(others, states, strict=True)]
        x = first * projected[:, width * blocks :] + torch.cat(parts, 1)
    return norm(conv(F.relu(x), net.tail.weight[lane]))


def darts_stack(net, images, weights, lane, extras=None):
    extras = extras or Extras()
    space = net.space
    if skeletons.of(space).skips:
        extras = replace(extras, auxiliary=1.0)
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
                states.append(norm(F.conv2d(F.relu(state), parts[0])))
        spec = space.cell(cell.kind)
        kept = []
        for node in range(2, 2 + space.nodes):
            kept += [masks(cell, spec, states, source, extras) for source in range(len(kept), node)]
            total = 0
            for row, edge in enumerate(spec.edges):
                if edge.target == node:
                    out = edge_sum(net, cell, row, states, weights, kept[edge.source], lane, extras)
                    total = total + out
            states.append(total)
        before, previous = previous, torch.cat(states[2:], 1)
    return previous


def masks(cell, spec, states, source, extras):
    nodes = 2 + len({edge.target for edge in spec.edges}) - max(source + 1, 2)
    skips = any("skip_connect" in edge.ops for edge in spec.edges if edge.source == source)
    stays = cell.kind == "normal" or source >= 2
    return extras.draw(states[source], cell.channels, nodes, skips and stays)


def edge_sum(net, cell, row, states, weights, kept, lane, extras):
    """Everything one edge sends: its mixture, what by-passes it, shuffled as PC-DARTS does on every edge."""
    spec = net.space.cell(cell.kind)
    edge = spec.edges[row]
    stride = 2 if cell.kind == "reduce" and edge.source < 2 else 1
    place = edge.target - max(edge.source + 1, 2)
    paths, entries = kept
    x, rest = states[edge.source][:, : cell.channels], states[edge.source][:, cell.channels :]
    mixed = 0
    for column, name in enumerate(edge.ops):
        if name != "none":
            module, index = find(cell, spec, edge.source, edge.target, name)
            value = apply(name, module, x, lane, index, stride)
            if name == "skip_connect" and stride == 1 and entries is not None:
                value = value * entries[:, :, :, place].permute(0, 3, 1, 2)
            mixed = mixed + weights[cell.kind][row, column] * value
    if extras.auxiliary and (not skeletons.of(net.space).skips or weights[cell.kind][row].any()):
        index = [e.target for e in spec.edges if e.source == edge.source].index(edge.target)
        module = cell.fans[edge.source].auxiliary.operation
        mixed = mixed + extras.auxiliary * apply("skip_connect", module, x, lane, index, stride)
    if extras.offsets:
        mixed = mixed + extras.offsets[cell.kind][row]
    if stride == 2 and rest.numel():
        rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
    if extras.carry:
        rest = rest * extras.carry[cell.kind][row]
    out = torch.cat([mixed, rest], 1) if rest.numel() else mixed
    if net.partial > 1:
        n, channels, height, width = out.shape
        cut = out.view(n, net.partial, channels // net.partial, height, width)
        out = cut.transpose(1, 2).reshape(n, channels, height, width)
    return out if paths is None else out * paths[:, place, None, None, None]


def chain_stack(net, images, weights, lane):
    def fixed(layer, x):
        z = conv(x, layer.weight[lane], layer.stride)
        return F.relu6(scaled_norm(layer.norm, z, lane, 1e-3))

    first, block, *choices, last = net.cells
    x = inverted(block.operation, fixed(first, images), lane)
    for row, layer in zip(weights["normal"], choices, strict=True):
        total = x if layer.shortcut else 0
        ops = net.space.cell("normal").edges[layer.row].ops
        modules = iter(layer.operations)
        for weight, name in zip(row, ops, strict=False):
            if name != "zero":
                total = total + weight * inverted(next(modules), x, lane)
        x = total
    return fixed(last, x)


def inverted(module, x, lane):
    if module.expand is not None:
        x = F.relu6(norm(conv(x, module.expand[lane, 0]), 1e-3))
    window = module.depthwise[lane, 0]
    size = window.shape[-1] // 2
    x = F.relu6(norm(F.conv2d(x, window, None, module.stride, size, groups=len(window)), 1e-3))
    return norm(conv(x, module.project[lane, 0]), 1e-3)


def dense_stack(net, images, weights, lane):
    def plain(layer, x):
        return F.relu(norm(conv(x, layer.weight[lane], layer.stride), 2e-5))

    x = norm(conv(images, net.stem.convolutions[0][lane]), 2e-5)
    x = F.relu(x * net.stem.scales[0][lane][:, None, None] + net.stem.shifts[0][lane][:, None, None])
    spec = net.space.cell("normal")
    *nodes, output = net.space.targets
    for cell in net.cells:
        if hasattr(cell, "small"):
            x = plain(cell.small, x) + plain(cell.large, x)
            continue
        places = [(layer, place) for layer in cell.layers for place in range(len(layer.windows))]
        states, rows = [x], iter(weights["connections"])
        for node, (layer, place) in zip(nodes, places, strict=True):
            edges = spec.into(node)
            row = next(rows) if len(edges) > 1 else [1]
            read = sum(w * states[edge.source] for w, edge in zip(row, edges, strict=False))
            name = edges[0].ops[0]
            if name.startswith("sep"):
                z = separable(read, layer.windows[place].pair, lane, 0, 1, int(name[3]) // 2, 1)
            else:
                z = (F.max_pool2d if name.startswith("max") else F.avg_pool2d)(read, 3, 1, 1)
            states.append(F.relu(norm(z, 2e-5)))
        width = x.shape[1]
        total = 0
        for place, (w, edge) in enumerate(zip(next(rows), spec.into(output), strict=True)):
            kernel = cell.project[lane][:, place * width : (place + 1) * width]
            total = total + conv(w * states[edge.source], kernel)
        shortcut = x if cell.shortcut is None else plain(cell.shortcut, x)
        x = F.relu(scaled_norm(cell.norm, total, lane, 2e-5)) + shortcut
    return F.relu(scaled_norm(net.tail.norm, x, lane, 2e-5))
