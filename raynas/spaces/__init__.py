"""What can be searched, as data and without torch: spaces, cells, operations, genotypes, skeletons."""
