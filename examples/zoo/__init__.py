"""A small made-up classifier of animals."""
