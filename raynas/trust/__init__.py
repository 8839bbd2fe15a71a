"""How good a choice is, and how sure that is: rules held against trained error and random cells."""
