"""Tests of stripe events."""
