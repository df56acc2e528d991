"""The first floor: what happens when a command, a tap, an event or a tick arrives."""
