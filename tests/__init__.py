"""The journeys and rules that hold Kvit to its word."""
