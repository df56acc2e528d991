"""Tests of bot/stripe/."""
