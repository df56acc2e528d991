"""Tests of several processes that serve one PostgreSQL database."""
