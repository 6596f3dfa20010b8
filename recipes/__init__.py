"""How shipped weights are made; not part of the wheel."""
