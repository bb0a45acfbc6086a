"""Material to try ``icis`` with; no part of the package."""
