"""How a cell computes: the supernet with all operations at once, and the network of the chosen ones."""
