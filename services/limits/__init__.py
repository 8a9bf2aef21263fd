"""Limits: a key that a person has proven counts once among the live memberships and holds of a drop.

What counts is the drop's `limits`. A key is stored as its digest under a secret of the drop. So nothing links two
drops, and nothing links anything once the secret is destroyed. Holds count keys when a number is taken. A
membership takes over the id of its hold, and so its keys. A number that comes back releases them. A membership that is
restored after its number came back counts them again; if one counts for another meanwhile, it is not restored.
"""

from services.limits.mailbox import mailbox
from services.limits.person_keys import (
    KeyColumns,
    PersonKey,
    PersonKeys,
    count_member_keys,
    key_columns,
    lock_member_keys,
    release_keys,
)

__all__ = [
    "KeyColumns",
    "PersonKey",
    "PersonKeys",
    "count_member_keys",
    "key_columns",
    "lock_member_keys",
    "mailbox",
    "release_keys",
]
