"""Helpers of the tests: the world around the real program, people, browsers, servers."""
