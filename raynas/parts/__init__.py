"""The parts a method is composed of: frozen configurations that act on a `raynas.bilevel.policy.Policy`.

What is learned: stores. What it means: relaxations. What a step multiplies in: samplers, perturbations. What
a step minimises: objectives, penalties. How α's gradient regards the weights: estimators. How α moves: rules.
What an edge does besides: modifiers. Over epochs: schedules, stages (greedy, projection), stops. At the end:
derivations.
"""
