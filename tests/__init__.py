"""Tests of icis-cli."""
