"""TFLite models to MIL."""
