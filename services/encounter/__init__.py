"""The encounter service: two members met, and it is proven once.

What it promises:

- An encounter is recorded only for a token that a known key signed at most `ENCOUNTER_MAX_AGE_S` ago by
  Postgres' clock, and only between two different memberships that exist and are not revoked.
- A token works once: its signing key with its `jti` is unique in Postgres, in the transaction that records it.
  Of any number of copies, at any number of processes, one is answered 201 and all others 409.
- What was answered 201 is durable.
- A membership's encounters are told to its own device alone.

The way of a token: `encounter_token` reads it (microseconds), `authority_keys` or `device_signed` finds who may
have signed it, the signature is checked, `recording` puts it into the next batch, `register` lets one statement
decide. `history` lists, `location_retention` forgets.
"""
