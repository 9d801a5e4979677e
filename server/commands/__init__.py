"""The commands of `python -m server`: one module each, with one function of the same name."""
