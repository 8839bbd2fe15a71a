"""Public tables of trained accuracies: what a cell reaches once trained, without training it."""
