"""Findings as pages, tables and files; nothing is computed here that a table holds."""
