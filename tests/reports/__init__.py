"""Tests of periods, reports and exports."""
