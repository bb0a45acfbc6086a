"""Injection: the injector file, appending and removing rows, and the record of what was done."""
