"""Domain values and their rules, without I/O."""
