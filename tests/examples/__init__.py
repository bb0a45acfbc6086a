"""Tests that run the examples as they stand."""
