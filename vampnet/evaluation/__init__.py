"""Evaluation: what a measure says of a codec, a model or a setting."""
