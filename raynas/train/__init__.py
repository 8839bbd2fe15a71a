"""Training a found cell from scratch: recipes, the loop, the trained network."""
