"""The layers of the skeletons' discrete networks: each skeleton names its own, which is a module here.

Such a module takes the genotype, the layer's plan, and whether batch norms learn scales; it maps the outputs
of the two layers before to the next state.
"""
