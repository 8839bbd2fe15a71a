"""The supernets of the skeletons: each names its `Builder`, which is a module here."""
