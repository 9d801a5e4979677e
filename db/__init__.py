"""What is true, what may become true, and how it is written."""
