"""Kills, faults and storms."""
