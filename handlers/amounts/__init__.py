"""The amount grammar: parses typed text into money and a description."""
