"""The core: spaces, supernet, curvature and the search loop, in plain PyTorch."""
