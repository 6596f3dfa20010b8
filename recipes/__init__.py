"""Scripts that build the included weights; not part of the wheel."""
