"""Grading from file to file: solutions in, results, report, journal and cache out."""
