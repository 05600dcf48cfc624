"""``harness doctor``: what this machine can do, and whether what we assume of Core ML holds on it."""
