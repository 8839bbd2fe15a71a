"""One search: the loop, its steps, its looks at the validation part, its state."""
