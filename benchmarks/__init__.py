"""Measurements: run by hand, never by the test suite, except for the claims of the README."""
