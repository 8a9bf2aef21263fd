"""Public keys of parties outside: read from where they publish them, kept for a while, bounded in every way."""

from services.jwks.key_set import KeySet, KeySetUnreadable, read_key_set
from services.jwks.published_keys import PublishedKeys, opened_keys, p256_key

__all__ = ["KeySet", "KeySetUnreadable", "PublishedKeys", "opened_keys", "p256_key", "read_key_set"]
