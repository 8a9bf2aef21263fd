"""Why the stack does not start."""


class StackRefused(Exception):
    """The message is one sentence for the person at the terminal: what is wrong and what to do about it."""
