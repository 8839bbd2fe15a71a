"""Pictures of cells and the report of a sweep."""
