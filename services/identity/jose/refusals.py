"""The errors for a refused key or token. A caller may see their messages."""

from __future__ import annotations


class KeyRefused(ValueError):
    """Not a P-256 public key in a form that is accepted."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class TokenRefused(ValueError):
    """Not a well-formed compact token, not signed by the key, or a claim out of bounds."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)

    @property
    def clause(self) -> str:
        """The message with a small first letter, for the end of another sentence."""
        return self.message[:1].lower() + self.message[1:]
