"""Training: audio folders to token files, the embedded codec, the masked models."""
