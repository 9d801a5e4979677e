"""A fleet under one random fault after the other: `python -m tests.soak --faults 1000`."""
