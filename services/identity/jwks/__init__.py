"""Public keys that other parties publish: read from their source, cached, with limits on size, time and callers."""

from services.identity.jwks.key_set import KeySet, KeySetUnreadable, read_key_set
from services.identity.jwks.published_keys import PublishedKeys, opened_keys, p256_key

__all__ = ["KeySet", "KeySetUnreadable", "PublishedKeys", "opened_keys", "p256_key", "read_key_set"]
