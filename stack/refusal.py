"""The error of a stack that does not start."""


class StackRefused(Exception):
    """The stack does not start. The message is one sentence: what is wrong and what to do."""
