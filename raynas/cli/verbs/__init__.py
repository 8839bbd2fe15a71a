"""The verbs of the command line, a module per verb or family of verbs."""
