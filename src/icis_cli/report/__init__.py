"""Reports: tables and summaries of results. Reads results, computes none."""
