"""The ground floor: what is true, and its rules."""
