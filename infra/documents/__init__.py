"""Statements as files that people open: CSV and PDF. See decision record 0033."""
