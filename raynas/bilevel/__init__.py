"""The bilevel problem itself: the policy (α), the loss in both levels, its curvature, its records."""
