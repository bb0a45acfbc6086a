"""Hostile files, and what a command does with each."""
