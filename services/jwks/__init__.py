"""Public keys of parties outside: read from where they publish them, kept for a while, bounded in every way."""

from services.jwks.published_keys import KeySetUnreadable, PublishedKeys, opened_keys, p256_key

__all__ = ["KeySetUnreadable", "PublishedKeys", "opened_keys", "p256_key"]
