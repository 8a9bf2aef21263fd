-- name: try_lock
-- Takes an advisory lock to the end of the transaction, if no other transaction has it. $1 class, $2 object
SELECT pg_try_advisory_xact_lock($1::int, $2::int);

-- name: wait_for_lock
-- The same, but waits for it, up to the lock timeout. $1 class, $2 object
SELECT pg_advisory_xact_lock($1::int, $2::int);

-- name: wait_for_hashed_locks
-- One lock for each text, in their order. $1 class, $2 texts
SELECT pg_advisory_xact_lock($1::int, hashtext(object)) FROM unnest($2::text[]) AS object;

-- name: wait_for_key
-- A lock on 64 bits of a text, so that two texts hardly ever share one. $1 text, $2 seed of the hash
SELECT pg_advisory_xact_lock(hashtextextended($1::text, $2::bigint));
