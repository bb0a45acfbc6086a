"""What keeps the documentation true: run by make, never by ``icis``."""
