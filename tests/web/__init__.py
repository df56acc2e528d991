"""Tests of handlers/web/."""
