"""Candidate operations: what each is called, what it computes, and how many edges compute it at once."""
