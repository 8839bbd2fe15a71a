"""Curvature: eigenvalues and trace of the Hessian of a loss in α, for all lanes at once.

Products with the Hessian come from differentiating the gradient once more; Lanczos with full
reorthogonalisation turns some tens of them into both ends of the spectrum. Plain power iteration would find
the largest magnitude, and these Hessians are indefinite. The trace is Hutch++ (Meyer et al. 2021): exact on
the subspace Lanczos has explored, estimated by random probes outside it.

A softmax is indifferent to a common shift of an edge's logits, so the Hessian is 0 along those directions.
They are left out of the work and put back into the answer as known zeros.

This is the Hessian of the loss alone. Zela et al. 2020 (automl/RobustDARTS, src/search/analyze.py) add α's
weight decay, 1e-3, to its diagonal, so all of their eigenvalues are larger by 1e-3; they take another
augmented batch at each measurement, and what drop path leaves of the network.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd import grad

from raynas.bilevel.records import Curvature

Losses = Callable[[Tensor], Tensor]
"""Maps flat α [lanes, numbers] to one loss per lane, [lanes]; lanes must not depend on each other."""

TRACE_PROBES = 2
"""Random probes for the trace: each costs one of the 17 products that a measurement takes on average, and the
standard error falls as their root, so halving it would take 6 more."""
FEWEST_STEPS = 8
"""Lanczos steps before convergence is believed: early Ritz values can stand still by chance. At least 14
would cost as much as the rule by residuals and help less: 16.3 products, λmin off in 1.3 % of starts."""
SAFETY = 0.5
"""The share of the tolerance that a residual may have: with all of it λmin is off twice as often."""


def shift_free_basis(masks: Sequence[Tensor]) -> Tensor:
    """Return an orthonormal basis [dimensions, numbers] of the α directions a softmax can feel.

    ``masks`` are the [edges, operations] marks of real entries, in the order of flat α. A row of n real
    entries contributes n − 1 directions, orthogonal to its common shift.
    """
    rows = [row for mask in masks for row in mask.cpu()]
    blocks = []
    for row in rows:
        real = int(row.sum())
        axes = torch.eye(len(row), dtype=torch.float64)[row]
        shift = torch.ones(real, 1, dtype=torch.float64)
        # The first column of Q is the common shift, the others span what is orthogonal to it.
        rotation = torch.linalg.qr(torch.cat([shift, torch.eye(real, dtype=torch.float64)[:, 1:]], 1))[0]
        blocks.append(rotation[:, 1:].T @ axes)
    basis: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return basis


class HessianProducts:
    """Multiplies each lane's Hessian with a vector, in the coordinates of an orthonormal basis."""

    def __init__(self, losses: Losses, alphas: Tensor, basis: Tensor) -> None:
        self._alphas = alphas.detach().requires_grad_()
        self._basis = basis.to(alphas.device)
        # The graph is built once, for 0.44 of a first-order step, and each product costs 0.51 (size tiny of
        # the benchmarks); building it anew for each would nearly double a measurement.
        self._gradient = grad(losses(self._alphas).sum(), self._alphas, create_graph=True)[0]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return H·v for each lane, [lanes, dimensions] in float64."""
        direction = (vectors @ self._basis).to(self._alphas)
        product = grad(self._gradient, self._alphas, direction, retain_graph=True)[0]
        # Products are as exact as the supernet's type; what Lanczos makes of them is in float64, in which its
        # vectors stay orthogonal to 1e-16 instead of 1e-7.
        return product.double() @ self._basis.T


def curvature(
    losses: Losses,
    alphas: Tensor,
    basis: Tensor,
    generators: Sequence[torch.Generator],
    *,
    zeros: int = 0,
    steps: int = 32,
    tolerance: float = 1e-2,
    spectrum: bool = False,
) -> list[Curvature]:
    """Measure the Hessian of ``losses`` at flat ``alphas`` [lanes, numbers], one `Curvature` per lane.

    ``basis`` [dimensions, numbers] spans the directions that matter; ``zeros`` is the number of directions
    outside it along which the Hessian is known to vanish. Lanczos takes at most ``steps`` products and stops
    when, at both ends and next to the upper one, an eigenvalue is certain within half of ``tolerance``,
    relative to its size (an end much smaller than the other: relative to a tenth of the larger). That it is
    the outermost is likely, not certain: a start that hardly contains the outermost eigenvector converges to
    the next. Of 13,112 starts on 1,639 recorded Hessians of 28 to 196 dimensions, at a tolerance of 1e-2,
    λmax was never off by more than that, λmin in 0.3 %, the gap (relative to the larger end) in 0.05 %, after
    17 products on average (`benchmarks.lanczos`). ``spectrum`` computes every eigenvalue, one product per
    dimension, and is exact. A lane whose Hessian is not finite gets NaN and leaves the others alone.
    """
    products = HessianProducts(losses, alphas, basis)
    dimensions = len(basis)
    if spectrum:
        return _exact(products, len(alphas), dimensions, zeros, alphas.device)
    start = torch.stack([_draw(dimensions, generator) for generator in generators]).to(alphas.device)
    lanczos = Lanczos(products, start, generators)
    lanczos.run(min(steps, dimensions), tolerance)
    return [lanczos.result(lane, zeros, trace) for lane, trace in enumerate(lanczos.traces())]


def diagonal(losses: Losses, alphas: Tensor, entries: Sequence[int]) -> Tensor:
    """Return the diagonal of each lane's Hessian at flat ``alphas``, [lanes, numbers] in float64.

    One product for each of the ``entries``; all other numbers are left at 0.
    """
    axes = torch.eye(alphas.shape[1], dtype=torch.float64)[list(entries)]
    products = HessianProducts(losses, alphas, axes)
    found = torch.zeros(alphas.shape, dtype=torch.float64, device=alphas.device)
    for place, entry in enumerate(entries):
        axis = torch.zeros(len(alphas), len(entries), dtype=torch.float64, device=alphas.device)
        axis[:, place] = 1
        found[:, entry] = products(axis)[:, place]
    return found


def _draw(dimensions: int, generator: torch.Generator) -> Tensor:
    return torch.randn(dimensions, generator=generator, dtype=torch.float64)


def _exact(
    products: HessianProducts, lanes: int, dimensions: int, zeros: int, device: torch.device
) -> list[Curvature]:
    """Build the whole matrix, one product per axis, and take every eigenvalue."""
    axes = torch.eye(dimensions, dtype=torch.float64, device=device)
    matrix = torch.stack([products(axis.expand(lanes, -1)) for axis in axes], 1)
    results = []
    for square in matrix.cpu():
        # Rows are separate products, symmetric up to their rounding; eigvalsh would read one triangle only.
        values = _eigenvalues((square + square.T) / 2)
        everything = sorted([*values, *[0.0] * zeros])
        results.append(_summary(everything, sum(values), 0.0, dimensions, tuple(everything)))
    return results


def _eigenvalues(square: Tensor) -> list[float]:
    if not bool(square.isfinite().all()):
        return [float("nan")] * len(square)
    return [float(value) for value in torch.linalg.eigvalsh(square)]


def _summary(
    values: Sequence[float],
    trace: float,
    error: float,
    products: int,
    spectrum: tuple[float, ...] | None = None,
) -> Curvature:
    gap = values[-1] - values[-2] if len(values) > 1 else 0.0
    return Curvature(values[-1], values[0], gap, trace, error, products, spectrum=spectrum)


class Lanczos:
    """Lanczos on every lane's Hessian; a lane's answer is frozen at the step at which it converged.

    Freezing makes a lane's numbers those it would get alone, however long its neighbours take.
    """

    def __init__(
        self, products: HessianProducts, start: Tensor, generators: Sequence[torch.Generator]
    ) -> None:
        self._products = products
        self._generators = generators
        self._basis = [start / start.norm(dim=1, keepdim=True)]
        self._diagonal: list[Tensor] = []
        self._beside: list[Tensor] = []
        self._steps: dict[int, int] = {}

    def run(self, most: int, tolerance: float) -> None:
        """Take steps until every lane has converged or ``most`` steps are taken."""
        lanes = range(len(self._basis[0]))
        for step in range(1, most + 1):
            following = self._advance()
            for lane in lanes:
                if lane not in self._steps and (step == most or self._settled(lane, step, tolerance)):
                    self._steps[lane] = step
            if len(self._steps) == len(lanes):
                return
            self._basis.append(following)

    def _advance(self) -> Tensor:
        """Multiply once, extend the tridiagonal matrix, return the next basis vectors."""
        known = torch.stack(self._basis, 1)
        product = self._products(self._basis[-1])
        self._diagonal.append((product * self._basis[-1]).sum(1).cpu())
        rest = _orthogonal(product, known)
        norm = rest.norm(dim=1, keepdim=True)
        self._beside.append(norm[:, 0].cpu())
        # Nothing left means that the subspace is complete for this start, as after r + 1 steps at rank r: a
        # fresh direction goes on with what lies outside it.
        for lane in (norm[:, 0] == 0).nonzero()[:, 0].tolist():
            fresh = _draw(rest.shape[1], self._generators[lane]).to(rest)
            rest[lane] = _orthogonal(fresh[None], known[lane : lane + 1])[0]
        following: Tensor = rest / rest.norm(dim=1, keepdim=True)
        return following

    def _tridiagonal(self, lane: int, step: int) -> Tensor:
        diagonal = torch.stack([value[lane] for value in self._diagonal[:step]])
        beside = torch.stack([value[lane] for value in self._beside[:step]])[:-1]
        return torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)

    def _settled(self, lane: int, step: int, tolerance: float) -> bool:
        """Check the residuals of both ends and of the second largest Ritz value.

        Within a Ritz value's residual there is an eigenvalue (Parlett 1998, theorem 4.5.1). The sharper bound
        by residual²/gap supposes the gap, which early Ritz values do not know: at the same tolerance it saves
        two or three of 16 products and lets λmin be off in 6 % of starts.
        """
        if step < FEWEST_STEPS:
            return False
        matrix = self._tridiagonal(lane, step)
        # eigh raises on NaN. Such a lane has no eigenvalues, and must not end the measurement of all others.
        if not bool(matrix.isfinite().all()):
            return True
        values, vectors = torch.linalg.eigh(matrix)
        residuals = self._beside[step - 1][lane] * vectors[-1].abs()
        allowed = SAFETY * tolerance * torch.maximum(values.abs(), 0.1 * values.abs().max())
        return bool((residuals <= allowed)[[0, -2, -1]].all())

    def traces(self) -> list[tuple[float, float]]:
        """Return each lane's trace with its standard error.

        A probe z of random signs gives zᵀAz, of variance at most 2·‖A‖² (Frobenius), for the Hessian A
        outside the subspace; ‖Az‖² is ‖A‖² on average. That comes at no cost and varies far less than the
        spread of so few samples.
        """
        sums = [
            float(torch.stack([value[lane] for value in self._diagonal[:step]]).sum())
            for lane, step in sorted(self._steps.items())
        ]
        known = torch.stack(self._basis, 1)
        lanes, _, dimensions = known.shape
        if all(step == dimensions for step in self._steps.values()):
            return [(total, 0.0) for total in sums]
        samples, squares = [], []
        for _ in range(TRACE_PROBES):
            probe = torch.stack([_draw(dimensions, generator) for generator in self._generators]).to(known)
            probe = self._outside(probe.sign(), known)
            product = self._outside(self._products(probe), known)
            samples.append((probe * product).sum(1).cpu())
            squares.append(product.square().sum(1).cpu())
        errors = (2 * torch.stack(squares).mean(0) / TRACE_PROBES).sqrt()
        outside = torch.stack(samples).mean(0)
        return [(sums[lane] + float(outside[lane]), float(errors[lane])) for lane in range(lanes)]

    def _outside(self, vectors: Tensor, known: Tensor) -> Tensor:
        """Remove from each lane's vector what lies in the subspace at which that lane was frozen."""
        parts = [
            _orthogonal(vectors[lane : lane + 1], known[lane : lane + 1, :step])
            for lane, step in sorted(self._steps.items())
        ]
        return torch.cat(parts)

    def result(self, lane: int, zeros: int, trace: tuple[float, float]) -> Curvature:
        """Return one lane's curvature, with the known zero eigenvalues put back."""
        step = self._steps[lane]
        # Two zeros do for λmin, λmax and the gap, which looks at the two largest values.
        values = sorted([*_eigenvalues(self._tridiagonal(lane, step)), *[0.0] * min(zeros, 2)])
        probes = 0 if trace[1] == 0 else TRACE_PROBES
        return _summary(values, *trace, products=step + probes)


def _orthogonal(vectors: Tensor, known: Tensor) -> Tensor:
    """Remove from [lanes, n] what lies in each lane's rows [lanes, steps, n]; twice, against round-off."""
    for _ in range(2):
        # Once leaves round-off where little of a vector is left; "twice is enough" (Kahan, in Parlett 1998).
        vectors = vectors - torch.einsum("lsn,ls->ln", known, torch.einsum("lsn,ln->ls", known, vectors))
    return vectors
