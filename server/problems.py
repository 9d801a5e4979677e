"""The root of what stops a command that a person started and can put right."""


class SetupError(Exception):
    """A setting, a port, a file or another server is not as it must be.

    The message is for the person at the terminal: what is wrong, and what would be right. No traceback is shown.
    """
