-- part: early_or_late
-- Whether it is too early or too late for a drop, by Postgres' clock.
coalesce(now() < opens_at, false) AS early, coalesce(now() >= closes_at, false) AS late

-- part: known
-- Receipts that are in the ledger already, each with its membership. $2 keys
SELECT l.receipt_key, l.state, l.reason, m.id AS membership_id, m.user_id, m.drop_id,
       m.sequence_num, m.pass_serial, m.revoked_at IS NOT NULL AS revoked
FROM receipt_ledger l LEFT JOIN memberships m USING (receipt_key)
WHERE l.receipt_key = ANY ($2::bytea[])

-- name: mint_receipts
-- Step 2 of the mint cycle, one statement and so one transaction: enter the receipts that are new, lock those that may
-- still mint, claim as many slots, write the memberships and the tally.
-- Keys arrive sorted: two processes that enter the same keys in different orders would deadlock.
-- $1 drop, $2 keys (sorted), $3 users, $4 e-mail addresses, $5 device ids, $6 device keys, $7 thumbprints, $8 kinds,
-- $9 transaction ids, $10 claim at most so many slots, $11 claim slots beyond this sort_order,
-- $12 whether the drop is known to be sold out ($10 is then 0), $13 tally writer
-- Returns a row for each key:
--   MINTED    this statement wrote the membership; sort_order is that of its slot
--   REPLAYED  the receipt became a membership before; revoked says whether that still lives
--   REFUNDED  the receipt is marked for a refund and never mints; it may have a membership
--   NOT_OPEN, CLOSED, SOLD_OUT   the receipt is FAILED with that reason
--   WAITING   undecided: no slot was granted or free, or another process works on the receipt
WITH asked AS (
  SELECT * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
    AS asked (receipt_key, user_id, email, device_id, public_key, thumbprint, kind, transaction_id)
), opening AS (
  SELECT {early_or_late} FROM drops WHERE id = $1
), known AS (
  {known}
), locked AS (
  -- FOR UPDATE reads the newest state of a row, which may be newer than in `known`. A row that another process holds is
  -- left out. So is one that stays refused: to lock it would write to the disk for every retry.
  SELECT receipt_key FROM receipt_ledger
  WHERE receipt_key = ANY (ARRAY(SELECT receipt_key FROM known WHERE state IN ('PENDING', 'FAILED')))
    AND (state = 'PENDING' OR state = 'FAILED' AND NOT ($12 AND reason = 'SOLD_OUT'))
    AND NOT (SELECT early FROM opening)
  ORDER BY receipt_key
  FOR UPDATE SKIP LOCKED
), ready AS (
  SELECT receipt_key, row_number() OVER () AS place FROM (
    SELECT receipt_key FROM asked WHERE receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known))
    UNION ALL SELECT receipt_key FROM locked) AS undecided
  WHERE NOT (SELECT early OR late FROM opening)
), claimed AS (
  SELECT slot, sort_order, sequence_num, row_number() OVER () AS place FROM (
    SELECT ctid AS slot, sort_order, sequence_num FROM slots
    WHERE drop_id = $1 AND sort_order > $11
    ORDER BY sort_order
    LIMIT least($10::int, (SELECT count(*) FROM ready))
    FOR UPDATE SKIP LOCKED) AS free
), stock AS (
  -- Slots that another transaction holds locked are not sold yet. By sort_order, to read the index that the claim reads.
  SELECT $12 OR (SELECT count(*) FROM claimed) < (SELECT count(*) FROM ready)
             AND NOT EXISTS (SELECT FROM slots WHERE drop_id = $1 AND sort_order >= 0) AS sold_out
), decided AS (
  SELECT asked.*, slot, sort_order, sequence_num, uuidv7() AS membership_id, uuidv7() AS pass_serial,
         CASE WHEN early THEN 'DROP_NOT_OPEN' WHEN late THEN 'DROP_CLOSED'
              WHEN sequence_num IS NULL AND (SELECT sold_out FROM stock) THEN 'SOLD_OUT' END AS reason
  FROM asked CROSS JOIN opening LEFT JOIN ready USING (receipt_key) LEFT JOIN claimed USING (place)
), entered AS (
  INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, transaction_id, reason)
  SELECT receipt_key,
         CASE WHEN sequence_num IS NOT NULL THEN 'FULFILLED'::receipt_state
              WHEN reason IS NOT NULL THEN 'FAILED' ELSE 'PENDING' END,
         $1, user_id, kind, transaction_id, reason
  FROM decided WHERE receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known))
  ORDER BY receipt_key
  ON CONFLICT (receipt_key) DO NOTHING
  RETURNING receipt_key
), turned AS (
  UPDATE receipt_ledger l
  SET state = CASE WHEN sequence_num IS NULL THEN 'FAILED'::receipt_state ELSE 'FULFILLED' END,
      user_id = CASE WHEN sequence_num IS NULL THEN l.user_id ELSE d.user_id END,
      drop_id = CASE WHEN sequence_num IS NULL THEN l.drop_id ELSE $1 END,
      reason = d.reason, updated_at = now()
  FROM decided d JOIN locked USING (receipt_key)
  WHERE l.receipt_key = d.receipt_key
    AND (sequence_num IS NOT NULL OR d.reason IS NOT NULL AND l.reason IS DISTINCT FROM d.reason)
  RETURNING l.receipt_key
), won AS (
  SELECT * FROM decided
  WHERE sequence_num IS NOT NULL
    AND receipt_key = ANY (ARRAY(SELECT receipt_key FROM entered UNION ALL SELECT receipt_key FROM turned))
), sold AS (
  DELETE FROM slots WHERE ctid = ANY (ARRAY(SELECT slot FROM won))
), minted AS (
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
  WHERE drop_id = $1 AND writer = $13 AND EXISTS (SELECT FROM won)
)
SELECT receipt_key, 'MINTED' AS outcome, membership_id, user_id, $1 AS drop_id, sequence_num, pass_serial,
       false AS revoked, sort_order
FROM won
UNION ALL
SELECT d.receipt_key,
       CASE WHEN k.state = 'FULFILLED' THEN 'REPLAYED'
            WHEN k.state IN ('REFUND_DUE', 'REFUNDED') THEN 'REFUNDED'
            WHEN d.reason IS NOT NULL AND (
              entered.receipt_key IS NOT NULL OR locked.receipt_key IS NOT NULL
              OR k.reason = 'SOLD_OUT' AND $12 OR k.state IS NOT NULL AND d.reason = 'DROP_NOT_OPEN')
              THEN replace(d.reason, 'DROP_', '')
            ELSE 'WAITING' END,
       k.membership_id, k.user_id, k.drop_id, k.sequence_num, k.pass_serial, k.revoked, NULL
FROM decided d LEFT JOIN known k USING (receipt_key)
  LEFT JOIN entered USING (receipt_key) LEFT JOIN locked USING (receipt_key)
WHERE d.receipt_key <> ALL (ARRAY(SELECT receipt_key FROM won));

-- name: record_receipts
-- Step 2 where mint_receipts fails: a receipt that was paid for is in the ledger all the same. Enters what is new as
-- PENDING and returns the rows of mint_receipts for what was decided before.
-- $1 drop, $2 keys (sorted), $3 users, $4 kinds, $5 transaction ids
WITH known AS (
  {known}
), entered AS (
  INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, transaction_id)
  SELECT receipt_key, 'PENDING', $1, user_id, kind, transaction_id
  FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[]) AS asked (receipt_key, user_id, kind, transaction_id)
  WHERE receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known))
  ORDER BY receipt_key
  ON CONFLICT (receipt_key) DO NOTHING
)
SELECT receipt_key, CASE WHEN state = 'FULFILLED' THEN 'REPLAYED' ELSE 'REFUNDED' END AS outcome,
       membership_id, user_id, drop_id, sequence_num, pass_serial, revoked, NULL::bigint AS sort_order
FROM known WHERE state IN ('FULFILLED', 'REFUND_DUE', 'REFUNDED');

-- name: has_minted
-- Whether a receipt became a membership. $1 key
SELECT EXISTS (SELECT FROM memberships WHERE receipt_key = $1) AS minted;

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
SELECT d.tier, d.year, d.capacity, (SELECT sum(taken)::int FROM drop_tallies t WHERE t.drop_id = d.id) AS taken,
       opens_at, closes_at, {early_or_late}
FROM drops d WHERE d.id = $1;

-- name: revoke_membership
-- Returns no row where it is unknown or revoked already. $1 membership, $2 reason, $3 whether its number is sold again
UPDATE memberships SET revoked_at = now(), revoked_reason = $2, number_freed = $3
WHERE id = $1 AND revoked_at IS NULL
RETURNING drop_id, sequence_num, receipt_key, number_freed;

-- name: lock_revoked_membership
-- A membership that may be given back: not that of an erased person. $1 membership
SELECT drop_id, sequence_num, number_freed FROM memberships
WHERE id = $1 AND revoked_at IS NOT NULL AND erased_at IS NULL FOR UPDATE;

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

-- name: audit_drops
-- What must always add up, each statement in one snapshot. Index-only counts; the statement timeout bounds them.
-- $1 a drop's id: those after it, $2 at most so many
SELECT d.id, d.tier, d.year, d.environment,
       greatest(0, (SELECT count(*) FROM memberships m WHERE m.drop_id = d.id AND m.revoked_at IS NULL) - d.capacity)
         AS over_capacity,
       d.capacity - (SELECT count(*) FROM slots s WHERE s.drop_id = d.id)
         - (SELECT coalesce(sum(taken), 0) FROM drop_tallies t WHERE t.drop_id = d.id) AS unaccounted
FROM drops d WHERE d.id > $1 ORDER BY d.id LIMIT $2;

-- name: first_drop_created_at
-- NULL where there is none.
SELECT min(created_at) FROM drops;

-- name: oldest_pending
-- When the oldest unfinished receipt of a stretch of time was created; NULL where there is none.
-- $1 and $2 the stretch, its end excluded
SELECT min(created_at) FROM receipt_ledger WHERE state = 'PENDING' AND created_at >= $1 AND created_at < $2;
