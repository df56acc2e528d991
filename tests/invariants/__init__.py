"""The checker, which judges a run by its evidence, and the planted bugs that prove it."""
