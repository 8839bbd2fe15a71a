"""Data sets as uint8 tensors, split into halves and augmented in batches on the device."""
