"""Command and button handlers, one file per family."""
