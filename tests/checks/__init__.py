"""Tests of bot/checks/."""
