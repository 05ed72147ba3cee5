"""One grader on every node of a Ray cluster, used as a single grader."""
