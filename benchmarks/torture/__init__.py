"""Campaigns against the package itself: kills, faults of the file system, fuzzed readers, and long runs."""
