"""The pay page without HTTP: its state, its action and its live updates."""
