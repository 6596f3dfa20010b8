"""The training set and the commands that build the embedded default model."""
