"""Test suites of others, executed on the portable runtime."""
