"""Tests of pay page."""
