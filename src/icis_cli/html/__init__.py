"""A report that people look at in a browser: one file that needs nothing else."""
