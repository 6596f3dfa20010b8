"""The job queue, cancellation, the model cache and the private storage of uploads."""
