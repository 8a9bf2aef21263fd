-- part: early_or_late
-- Whether it is too early or too late for a drop, by Postgres' clock.
coalesce(now() < opens_at, false) AS early, coalesce(now() >= closes_at, false) AS late

-- part: known
-- Receipts that are in the ledger already, each with its membership. $2 keys
SELECT l.receipt_key, l.state, l.reason, m.id AS membership_id, m.user_id, m.drop_id,
       m.sequence_num, m.pass_serial, m.revoked_at IS NOT NULL AS revoked
FROM receipt_ledger l LEFT JOIN memberships m USING (receipt_key)
WHERE l.receipt_key = ANY ($2::bytea[])

-- part: writing_of_won
-- All that belongs to the memberships in `won`, which has a column for each thing that is written. $1 drop, $9 tally writer
minted AS (
  INSERT INTO memberships (id, drop_id, sequence_num, user_id, receipt_key, pass_serial)
  SELECT membership_id, $1, sequence_num, user_id, receipt_key, pass_serial FROM won
), enrolled AS (
  INSERT INTO devices (membership_id, device_id, public_key, thumbprint)
  SELECT membership_id, device_id, public_key, thumbprint FROM won WHERE device_id IS NOT NULL
), reachable AS (
  INSERT INTO contacts (membership_id, email)
  SELECT membership_id, email FROM won WHERE email IS NOT NULL
), tallied AS (
  UPDATE drop_tallies SET taken = taken + (SELECT count(*) FROM won)
  WHERE drop_id = $1 AND writer = $9 AND EXISTS (SELECT FROM won)
)

-- name: enter_receipts
-- Step 1 of the mint cycle. Enters receipts that are new and tells the state of those already there.
-- Keys arrive sorted: unsorted upserts of the same keys by two processes deadlock.
-- $1 drop, $2 keys, $3 users, $4 kinds, $5 transaction ids, $6 whether the drop is known to be sold out
-- Returns no row for what is new and PENDING now: most receipts are. A row without a state was committed by another
-- process after our snapshot.
-- Where nobody is answered from what is written here, the commit does not wait for the disk: the next commit of the
-- cycle, which is answered from, waits for both. A crash in between is one before step 1.
WITH asked AS (
  SELECT * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[])
    AS asked (receipt_key, user_id, kind, transaction_id)
), opening AS (
  SELECT early, late, CASE WHEN NOT (early OR late OR $6) THEN set_config('synchronous_commit', 'off', true) END AS commit
  FROM (SELECT {early_or_late} FROM drops WHERE id = $1) AS times
), known AS (
  {known}
), entered AS (
  INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, transaction_id, reason)
  SELECT a.receipt_key,
         CASE WHEN early OR late OR $6 THEN 'FAILED'::receipt_state ELSE 'PENDING'::receipt_state END,
         $1, a.user_id, a.kind, a.transaction_id,
         CASE WHEN early THEN 'DROP_NOT_OPEN' WHEN late THEN 'DROP_CLOSED' WHEN $6 THEN 'SOLD_OUT' END
  FROM asked a, opening
  WHERE NOT EXISTS (SELECT FROM known k WHERE k.receipt_key = a.receipt_key)
  ORDER BY a.receipt_key
  ON CONFLICT (receipt_key) DO NOTHING
  RETURNING receipt_key, state, reason
)
SELECT a.receipt_key, early, late, coalesce(k.state, e.state)::text AS state, coalesce(k.reason, e.reason) AS reason,
       k.membership_id, k.user_id, k.drop_id, k.sequence_num, k.pass_serial, k.revoked
FROM asked a CROSS JOIN opening
LEFT JOIN known k USING (receipt_key) LEFT JOIN entered e USING (receipt_key)
WHERE e.state IS DISTINCT FROM 'PENDING';

-- name: mint_new_receipts
-- Steps 1 and 3 at once for receipts that are new, one statement and so one transaction, which waits for the disk: enter
-- them, claim as many slots, write memberships and the tally. A receipt for which no slot is left is entered as PENDING;
-- the slot of one that another process entered meanwhile stays. Those that are there already are told, as by enter_receipts.
-- $1 drop, $2 keys (sorted), $3 users, $4 e-mail addresses, $5 device ids, $6 device keys, $7 thumbprints,
-- $8 claim slots beyond this sort_order, $9 tally writer, $10 kinds, $11 transaction ids
-- Returns what was minted, with its sort_order, and for the others the rows that enter_receipts returns: none for PENDING.
WITH asked AS (
  SELECT * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $10::text[], $11::text[])
    AS asked (receipt_key, user_id, email, device_id, public_key, thumbprint, kind, transaction_id)
), opening AS (
  SELECT {early_or_late} FROM drops WHERE id = $1
), known AS (
  {known}
), fresh AS (
  SELECT asked.*, row_number() OVER () AS place FROM asked
  WHERE receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known))
), claimed AS (
  SELECT ctid AS slot, sort_order, sequence_num FROM slots
  WHERE drop_id = $1 AND sort_order > $8
  ORDER BY sort_order
  LIMIT (SELECT count(*) FROM fresh WHERE NOT (SELECT early OR late FROM opening))
  FOR UPDATE SKIP LOCKED
), numbered AS (
  SELECT fresh.*, slot, sort_order, sequence_num, uuidv7() AS membership_id, uuidv7() AS pass_serial
  FROM fresh
  LEFT JOIN (SELECT claimed.*, row_number() OVER () AS place FROM claimed) AS numbers USING (place)
), entered AS (
  INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, transaction_id, reason)
  SELECT receipt_key,
         CASE WHEN early OR late THEN 'FAILED'::receipt_state WHEN sequence_num IS NULL THEN 'PENDING' ELSE 'FULFILLED' END,
         $1, user_id, kind, transaction_id, CASE WHEN early THEN 'DROP_NOT_OPEN' WHEN late THEN 'DROP_CLOSED' END
  FROM numbered, opening
  ORDER BY receipt_key
  ON CONFLICT (receipt_key) DO NOTHING
  RETURNING receipt_key, state, reason
), won AS (
  SELECT * FROM numbered
  WHERE sequence_num IS NOT NULL AND receipt_key = ANY (ARRAY(SELECT receipt_key FROM entered))
), sold AS (
  DELETE FROM slots WHERE ctid = ANY (ARRAY(SELECT slot FROM won))
), {writing_of_won}
SELECT receipt_key, false AS early, false AS late, 'FULFILLED' AS state, NULL AS reason,
       membership_id, user_id, $1 AS drop_id, sequence_num, pass_serial, false AS revoked, sort_order
FROM won
UNION ALL
SELECT a.receipt_key, early, late, coalesce(k.state, e.state)::text, coalesce(k.reason, e.reason),
       k.membership_id, k.user_id, k.drop_id, k.sequence_num, k.pass_serial, k.revoked, NULL
FROM asked a CROSS JOIN opening
LEFT JOIN known k USING (receipt_key) LEFT JOIN entered e USING (receipt_key)
WHERE (SELECT count(*) FROM won) < (SELECT count(*) FROM asked)
  AND e.state IS DISTINCT FROM 'PENDING' AND e.state IS DISTINCT FROM 'FULFILLED';

-- name: read_receipts
-- The second half of step 1: rows that another process committed while enter_receipts ran, in the same columns.
-- $1 drop, $2 keys
SELECT receipt_key, early, late, state::text AS state, reason,
       membership_id, user_id, drop_id, sequence_num, pass_serial, revoked
FROM ({known}) AS known, (SELECT {early_or_late} FROM drops WHERE id = $1) AS opening;

-- name: find_minted
-- The drop where a receipt became a membership; no row where it did not. $1 key
SELECT drop_id FROM memberships WHERE receipt_key = $1;

-- name: fulfil_receipts
-- Step 3 of the mint cycle by itself, one statement and so one transaction: lock the receipts in key order and decide
-- by what they say now, claim as many slots, write memberships, mark the receipts, add to the tally.
-- A receipt that is locked elsewhere or was decided meanwhile is left out; so are those for which no slot is left.
-- $1 drop, $2 keys (sorted), $3 users, $4 e-mail addresses, $5 device ids, $6 device keys, $7 thumbprints,
-- $8 claim slots beyond this sort_order, $9 tally writer
WITH asked AS (
  SELECT * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
    AS asked (receipt_key, user_id, email, device_id, public_key, thumbprint)
), locked AS (
  SELECT receipt_key FROM receipt_ledger
  WHERE receipt_key = ANY ($2::bytea[]) AND state IN ('PENDING', 'FAILED')
  ORDER BY receipt_key
  FOR UPDATE SKIP LOCKED
), claimed AS (
  DELETE FROM slots
  WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM slots
    WHERE drop_id = $1 AND sort_order > $8
    ORDER BY sort_order
    LIMIT (SELECT count(*) FROM locked)
    FOR UPDATE SKIP LOCKED))
  RETURNING sort_order, sequence_num
), pairs AS (
  SELECT receipt_key, sequence_num, uuidv7() AS membership_id, uuidv7() AS pass_serial
  FROM (SELECT receipt_key, row_number() OVER () AS place FROM locked) AS receipts
  JOIN (SELECT sequence_num, row_number() OVER () AS place FROM claimed) AS numbers USING (place)
), won AS (
  UPDATE receipt_ledger l
  SET state = 'FULFILLED', user_id = a.user_id, drop_id = $1, reason = NULL, updated_at = now()
  FROM pairs p JOIN asked a USING (receipt_key)
  WHERE l.receipt_key = p.receipt_key
  RETURNING l.receipt_key, p.sequence_num, p.membership_id, p.pass_serial, a.user_id,
            a.email, a.device_id, a.public_key, a.thumbprint
), {writing_of_won}
SELECT receipt_key, sequence_num, membership_id, pass_serial,
       (SELECT count(*) FROM locked) AS locked, (SELECT max(sort_order) FROM claimed) AS last_sort_order
FROM won;

-- name: refuse_if_sold_out
-- Says SOLD_OUT and writes it in the same breath, only if the drop holds no slot at all, locked ones included.
-- $1 drop, $2 keys (sorted)
WITH stock AS (
  SELECT NOT EXISTS (SELECT FROM slots WHERE drop_id = $1) AS sold_out
), locked AS (
  SELECT receipt_key FROM receipt_ledger
  WHERE receipt_key = ANY ($2::bytea[]) AND state IN ('PENDING', 'FAILED') AND (SELECT sold_out FROM stock)
  ORDER BY receipt_key
  FOR UPDATE SKIP LOCKED
), marked AS (
  UPDATE receipt_ledger l SET state = 'FAILED', reason = 'SOLD_OUT', updated_at = now()
  FROM locked WHERE l.receipt_key = locked.receipt_key AND l.reason IS DISTINCT FROM 'SOLD_OUT'
)
SELECT sold_out, ARRAY(SELECT receipt_key FROM locked) AS receipt_keys FROM stock;

-- name: fail_receipts
-- PENDING receipts get a reason and can be refunded.
-- $1 keys (sorted), $2 reason
WITH locked AS (
  SELECT receipt_key FROM receipt_ledger
  WHERE receipt_key = ANY ($1::bytea[]) AND state = 'PENDING'
  ORDER BY receipt_key
  FOR UPDATE SKIP LOCKED
)
UPDATE receipt_ledger l SET state = 'FAILED', reason = $2, updated_at = now()
FROM locked WHERE l.receipt_key = locked.receipt_key
RETURNING l.receipt_key;

-- name: transaction_time
-- When this transaction began, by Postgres' clock.
SELECT now();

-- name: reap_abandoned
-- Receipts that some process left PENDING longer than any of its time limits, among those created in a stretch of
-- time: by the BRIN index, which reads all that were. $1 and $2 the stretch, its end excluded, $3 grace in seconds,
-- $4 at most so many
WITH abandoned AS (
  SELECT receipt_key FROM receipt_ledger
  WHERE state = 'PENDING' AND updated_at < now() - make_interval(secs => $3)
    AND created_at >= $1 AND created_at < $2
  ORDER BY receipt_key LIMIT $4
  FOR UPDATE SKIP LOCKED
)
UPDATE receipt_ledger l SET state = 'FAILED', reason = 'ABANDONED', updated_at = now()
FROM abandoned a WHERE l.receipt_key = a.receipt_key
RETURNING l.receipt_key;

-- name: try_lock
-- One process at a time does a repair; held to the end of the transaction. $1 class, $2 object
SELECT pg_try_advisory_xact_lock($1::int, $2::int);

-- name: wait_for_lock
-- The same for what an operator wants done: waits its turn, up to the lock timeout. $1 class, $2 object
SELECT TRUE FROM (SELECT pg_advisory_xact_lock($1::int, $2::int)) AS locked;

-- name: remaining_by_drop
-- How many slots are unclaimed, by the tallies: exact in the snapshot, without a scan. $1 drops, or NULL for all;
-- $2 at most so many, the newest
SELECT d.id, d.tier, d.year, d.environment, d.capacity - sum(t.taken)::int AS remaining
FROM drops d JOIN drop_tallies t ON t.drop_id = d.id
WHERE $1::int[] IS NULL OR d.id = ANY ($1::int[])
GROUP BY d.id ORDER BY d.id DESC LIMIT $2;

-- name: find_drop
-- $1 tier, $2 year, $3 environment
SELECT id, tier, year, environment FROM drops WHERE tier = $1 AND year = $2 AND environment = $3;

-- name: find_drop_by_id
-- $1 drop
SELECT id, tier, year, environment FROM drops WHERE id = $1;

-- name: read_drop
-- A drop as callers see it, its opening judged by Postgres' clock. $1 drop
SELECT d.tier, d.year, d.environment, d.capacity, (SELECT sum(taken)::int FROM drop_tallies t WHERE t.drop_id = d.id) AS taken,
       opens_at, closes_at, {early_or_late}
FROM drops d WHERE d.id = $1;

-- name: list_drops
-- All drops, newest first, for the operator. $1 tier and $2 year, or NULL for all
SELECT d.id, tier, year, environment, capacity, opens_at, closes_at, refund_frees_number, created_at,
       {early_or_late},
       (SELECT sum(taken)::int FROM drop_tallies t WHERE t.drop_id = d.id) AS taken
FROM drops d
WHERE ($1::text IS NULL OR tier = $1) AND ($2::text IS NULL OR year = $2)
ORDER BY created_at DESC, d.id DESC;

-- name: create_drop
-- Returns no row where the drop exists. $1 tier, $2 year, $3 environment, $4 capacity, $5 opens_at, $6 closes_at, $7 refund_frees_number
INSERT INTO drops (tier, year, environment, capacity, opens_at, closes_at, refund_frees_number)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tier, year, environment) DO NOTHING
RETURNING id;

-- name: create_tallies
-- A row for each writer, so that a tally is always an update. $1 drop, $2 writers
INSERT INTO drop_tallies (drop_id, writer) SELECT $1, generate_series(0, $2::int - 1);

-- name: lock_drop
-- Keeps two resizes of one drop apart. $1 drop
SELECT capacity FROM drops WHERE id = $1 FOR UPDATE;

-- name: withdraw_slots
-- Takes so many of the highest unclaimed numbers out of a drop. $1 drop, $2 how many
DELETE FROM slots WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM slots WHERE drop_id = $1 ORDER BY sequence_num DESC LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING sequence_num;

-- name: free_numbers
-- The lowest numbers that neither a slot nor a membership of the drop holds; one that a refund freed is held by none.
-- $1 drop, $2 highest number, $3 how many
SELECT n FROM generate_series(1, $2::int) AS n
WHERE NOT EXISTS (SELECT FROM slots s WHERE s.drop_id = $1 AND s.sequence_num = n)
  AND NOT EXISTS (SELECT FROM memberships m WHERE m.drop_id = $1 AND m.sequence_num = n AND NOT m.number_freed)
ORDER BY n LIMIT $3;

-- name: set_capacity
-- $1 drop, $2 capacity
UPDATE drops SET capacity = $2 WHERE id = $1;

-- name: schedule_drop
-- When a drop sells; NULL is no limit. $1 drop, $2 opens_at, $3 closes_at
UPDATE drops SET opens_at = $2, closes_at = $3 WHERE id = $1 RETURNING opens_at, closes_at;

-- name: close_drop
-- From the next statement on nobody mints in it. $1 drop
UPDATE drops SET closes_at = least(closes_at, now()), opens_at = CASE WHEN opens_at < least(closes_at, now()) THEN opens_at END
WHERE id = $1 RETURNING opens_at, closes_at;

-- name: count_slots
-- A plain count of unclaimed rows: what the tallies are checked against. $1 drop
SELECT count(*) FROM slots WHERE drop_id = $1;

-- name: count_live
-- Live memberships of a drop. $1 drop
SELECT count(*) FROM memberships WHERE drop_id = $1 AND revoked_at IS NULL;

-- name: read_membership
-- A membership and its receipt, for the operator. $1 membership
SELECT m.id, d.tier, d.year, d.environment, m.sequence_num, m.user_id, m.pass_serial, m.minted_at, m.revoked_at, m.revoked_reason,
       l.state::text AS receipt_state, l.kind AS receipt_kind, l.transaction_id
FROM memberships m JOIN drops d ON d.id = m.drop_id JOIN receipt_ledger l USING (receipt_key)
WHERE m.id = $1;

-- name: revoke_membership
-- Returns no row where it is unknown or revoked already. $1 membership, $2 reason, $3 whether its number is sold again
UPDATE memberships SET revoked_at = now(), revoked_reason = $2, number_freed = $3
WHERE id = $1 AND revoked_at IS NULL
RETURNING drop_id, sequence_num, receipt_key, number_freed;

-- name: lock_revoked_membership
-- A membership that may be given back: not that of an erased person. $1 membership
SELECT drop_id, sequence_num, number_freed FROM memberships
WHERE id = $1 AND revoked_at IS NOT NULL AND revoked_reason IS DISTINCT FROM 'erased' FOR UPDATE;

-- name: take_number
-- Takes one number out of those for sale; no row where it was sold or withdrawn. $1 drop, $2 number
DELETE FROM slots WHERE drop_id = $1 AND sequence_num = $2 RETURNING sequence_num;

-- name: restore_membership
-- The partial unique index refuses a number that has a new owner. $1 membership
UPDATE memberships SET revoked_at = NULL, revoked_reason = NULL, number_freed = false WHERE id = $1;

-- name: append_event
-- $1 membership, $2 kind
INSERT INTO membership_events (membership_id, kind) VALUES ($1, $2);

-- name: add_to_tally
-- $1 drop, $2 how many more are taken (negative: fewer), $3 writer
UPDATE drop_tallies SET taken = taken + $2 WHERE drop_id = $1 AND writer = $3;

-- name: list_receipts
-- Receipts in a state, oldest first, for the operator; one refunded before it was ever sent has no drop and no user. $1 state, $2 at most so many
SELECT encode(l.receipt_key, 'hex') AS receipt_key, l.state::text AS state, l.reason, l.kind, l.transaction_id, l.user_id,
       d.tier, d.year, l.created_at
FROM receipt_ledger l LEFT JOIN drops d ON d.id = l.drop_id
WHERE l.state = $1::receipt_state
ORDER BY l.created_at LIMIT $2;

-- name: audit_drops
-- What must always add up, each statement in one snapshot. Index-only counts; the statement timeout bounds them.
-- $1 a drop's id: those after it, $2 at most so many
SELECT d.id, d.tier, d.year, d.environment,
       greatest(0, (SELECT count(*) FROM memberships m WHERE m.drop_id = d.id AND m.revoked_at IS NULL) - d.capacity)
         AS over_capacity,
       d.capacity - (SELECT count(*) FROM slots s WHERE s.drop_id = d.id)
         - (SELECT coalesce(sum(taken), 0) FROM drop_tallies t WHERE t.drop_id = d.id) AS unaccounted
FROM drops d WHERE d.id > $1 ORDER BY d.id LIMIT $2;

-- name: oldest_pending
-- When the oldest unfinished receipt of a stretch of time was created; NULL where there is none.
-- $1 and $2 the stretch, its end excluded
SELECT min(created_at) FROM receipt_ledger WHERE state = 'PENDING' AND created_at >= $1 AND created_at < $2;

-- name: remember_merchant_key
-- A key that has proven a receipt. $1 issuer, $2 kid or '', $3 canonical JWK
INSERT INTO merchant_keys (issuer, kid, public_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: list_merchant_keys
-- The newest keys that ever proved a receipt. $1 issuer, $2 at most so many
SELECT kid, public_key FROM merchant_keys WHERE issuer = $1 ORDER BY first_used_at DESC LIMIT $2;
