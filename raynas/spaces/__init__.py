"""Search spaces as data, without torch: spaces, cells, operations, genotypes, skeletons."""
