"""Whole journeys: the real program over real HTTP."""
