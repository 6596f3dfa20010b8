"""The training set of the embedded default model, and the commands that build it."""
