"""Other people's text forms of a cell, read and written."""
