"""The machine: devices and their rates, the allocator, atomic files, hashes."""
