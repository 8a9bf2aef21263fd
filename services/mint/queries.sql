-- part: early_or_late
-- Whether it is too early or too late for a drop, by Postgres' clock.
coalesce(now() < opens_at, false) AS early, coalesce(now() >= closes_at, false) AS late

-- part: known
-- Receipts that are already in the ledger, each with its membership. $2 keys
SELECT l.receipt_key, l.state, l.reason, m.id AS membership_id, m.user_id, m.drop_id,
       m.sequence_num, m.pass_serial, m.revoked_at IS NOT NULL AS revoked
FROM receipt_ledger l LEFT JOIN memberships m USING (receipt_key)
WHERE l.receipt_key = ANY ($2::bytea[])

-- part: decided
-- Rows for the receipts in `known` that were decided before.
SELECT receipt_key, CASE WHEN state = 'FULFILLED' THEN 'REPLAYED' ELSE 'REFUNDED' END AS outcome,
       membership_id, user_id, drop_id, sequence_num, pass_serial, revoked, NULL::bigint AS sort_order
FROM known WHERE state IN ('FULFILLED', 'REFUND_DUE', 'REFUNDED')

-- part: may_use_hold
-- Whether a receipt in `asked` may use the hold `h` of its user; `k` is the receipt's row in `known`. A receipt that names
-- `n`, an ended hold of its user, may use the one that the user has now.
(h.receipt_key = asked.receipt_key
 OR h.receipt_key IS NULL AND (hold_named IS NULL OR hold_named = h.id OR n.id IS NOT NULL)
    AND k.reason IS DISTINCT FROM 'HOLD_OFFERED')
AND (k.state IS NULL OR k.state IN ('PENDING', 'FAILED'))

-- part: memberships_of_won
-- The rows that belong to the memberships in `won`. $1 drop
minted AS (
  INSERT INTO memberships (id, drop_id, sequence_num, user_id, receipt_key, pass_serial)
  SELECT membership_id, $1, sequence_num, user_id, receipt_key, pass_serial FROM won
), enrolled AS (
  INSERT INTO devices (membership_id, device_id, public_key, thumbprint)
  SELECT membership_id, device_id, public_key, thumbprint FROM won WHERE device_id IS NOT NULL
), reachable AS (
  INSERT INTO contacts (membership_id, email)
  SELECT membership_id, email FROM won WHERE email IS NOT NULL
)

-- name: mint_receipts
-- Step 2 of the mint cycle, one statement and so one transaction: enter the receipts that are new, lock those that may
-- still mint, claim as many slots, write the memberships and the tally.
-- Keys arrive sorted: two processes that enter the same keys in different orders would deadlock.
-- $1 drop, $2 keys (sorted), $3 users, $4 e-mail addresses, $5 device ids, $6 device keys, $7 thumbprints, $8 kinds,
-- $9 transaction ids, $10 how many slots to claim at most, $11 claim slots beyond this sort_order,
-- $12 whether the drop is known to be sold out ($10 is then 0), $13 tally writer
-- Returns a row for each key:
--   MINTED    this statement wrote the membership; sort_order is that of its slot
--   REPLAYED  the receipt became a membership before; revoked says whether that was revoked since
--   REFUNDED  the receipt is marked for a refund and never mints; it may have a membership
--   NOT_OPEN, CLOSED, SOLD_OUT   the receipt is FAILED with that reason
--   WAITING   undecided: no slot was granted or found, or another process works on the receipt
WITH asked AS (
  SELECT * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
    AS asked (receipt_key, user_id, email, device_id, public_key, thumbprint, kind, transaction_id)
), opening AS (
  SELECT {early_or_late} FROM drops WHERE id = $1
), known AS (
  {known}
), locked AS (
  -- FOR UPDATE reads the newest state of a row, which may be newer than in `known`. Leaves out rows that another process
  -- has locked, and receipts that stay refused: a lock would write to the disk for every retry.
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
  -- Slots that another transaction has locked are not sold yet. By sort_order, to use the same index as the claim.
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
), {memberships_of_won}, tallied AS (
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

-- name: mint_held_receipts
-- mint_receipts for receipts whose users have a live hold: each takes the held number. The bouncer, the limits and the
-- opening times do not matter. The first statement to lock the hold gets it. The other receipts are for
-- mint_counted_receipts.
-- $1 to $9 as in mint_receipts, $10 holds that the receipts name, $11 tally writer, and the person keys other than
-- `user`, which the hold counts: $12 the receipt's place in $2 (from 1), $13 kind, $14 digest
-- Returns rows like mint_receipts, for receipts that are MINTED, REPLAYED or REFUNDED.
WITH asked AS (
  SELECT * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $10::uuid[]) WITH ORDINALITY
    AS asked (receipt_key, user_id, email, device_id, public_key, thumbprint, kind, transaction_id, hold_named, ask)
), known AS (
  {known}
), own AS (
  -- A hold is for one receipt: the one that it was made for, or else the first of its user.
  -- A membership takes over the id of its hold, and with it the hold's keys, so they need no write.
  SELECT DISTINCT ON (h.id) asked.*, h.id AS membership_id, k.state
  FROM asked JOIN holds h ON h.drop_id = $1 AND h.user_id = asked.user_id AND h.state = 'HELD'
    LEFT JOIN holds n ON n.id = hold_named AND n.user_id = asked.user_id AND n.drop_id = $1
      AND n.state IN ('LAPSED', 'RELEASED')
    LEFT JOIN known k ON k.receipt_key = asked.receipt_key
  WHERE {may_use_hold}
  ORDER BY h.id, ask
), locked AS (
  -- If a receipt's reason has changed since this statement began, it waits for the next batch.
  SELECT l.receipt_key FROM receipt_ledger l
  WHERE l.receipt_key = ANY (ARRAY(SELECT receipt_key FROM own WHERE state IS NOT NULL))
    AND l.state IN ('PENDING', 'FAILED')
    AND l.reason IS NOT DISTINCT FROM (SELECT k.reason FROM known k WHERE k.receipt_key = l.receipt_key)
  ORDER BY l.receipt_key
  FOR UPDATE SKIP LOCKED
), held AS (
  SELECT own.*, h.sequence_num, uuidv7() AS pass_serial
  FROM own JOIN holds h ON h.id = own.membership_id
  -- HELD is written in another way, so that no index of live holds is read from end to end.
  WHERE h.ended_at IS NULL
    AND (own.state IS NULL OR own.receipt_key = ANY (ARRAY(SELECT receipt_key FROM locked)))
  ORDER BY h.id
  FOR UPDATE OF h SKIP LOCKED
), entered AS (
  INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, transaction_id)
  SELECT receipt_key, 'FULFILLED', $1, user_id, kind, transaction_id FROM held WHERE state IS NULL
  ORDER BY receipt_key
  ON CONFLICT (receipt_key) DO NOTHING
  RETURNING receipt_key
), turned AS (
  UPDATE receipt_ledger l
  SET state = 'FULFILLED', user_id = held.user_id, drop_id = $1, reason = NULL, updated_at = now()
  FROM held WHERE held.state IS NOT NULL AND l.receipt_key = held.receipt_key
  RETURNING l.receipt_key
), won AS (
  SELECT * FROM held
  WHERE receipt_key = ANY (ARRAY(SELECT receipt_key FROM entered UNION ALL SELECT receipt_key FROM turned))
), used AS (
  UPDATE holds h SET state = 'USED', ended_at = now(), membership_id = won.membership_id
  FROM won WHERE h.id = won.membership_id
), keys AS (
  SELECT ask, membership_id, key.kind, key.digest, p.digest IS NOT NULL AS is_known
  FROM unnest($12::bigint[], $13::text[], $14::bytea[]) AS key (ask, kind, digest) JOIN won USING (ask)
    LEFT JOIN person_keys p ON p.drop_id = $1 AND p.kind = key.kind AND p.digest = key.digest
), counted AS (
  INSERT INTO person_keys (drop_id, kind, digest, held_by)
  SELECT DISTINCT ON (kind, digest) $1, kind, digest, membership_id
  FROM keys WHERE NOT is_known ORDER BY kind, digest, ask
), counted_again AS (
  -- Known keys that count for no hold or membership now.
  UPDATE person_keys p SET held_by = membership_id
  FROM keys CROSS JOIN LATERAL (
    SELECT FROM person_keys free
    WHERE free.drop_id = $1 AND free.kind = keys.kind AND free.digest = keys.digest AND free.held_by IS NULL
    LIMIT 1
    FOR UPDATE SKIP LOCKED) AS spare
  WHERE is_known AND p.drop_id = $1 AND p.kind = keys.kind AND p.digest = keys.digest
), left_line AS (
  DELETE FROM late_payments WHERE receipt_key = ANY (ARRAY(SELECT receipt_key FROM turned))
), {memberships_of_won}, tallied AS (
  UPDATE drop_tallies SET held = held - (SELECT count(*) FROM won)
  WHERE drop_id = $1 AND writer = $11 AND EXISTS (SELECT FROM won)
)
SELECT receipt_key, 'MINTED' AS outcome, membership_id, user_id, $1 AS drop_id, sequence_num, pass_serial,
       false AS revoked, NULL::bigint AS sort_order
FROM won
UNION ALL
{decided};

-- name: mint_counted_receipts
-- mint_receipts for drops that sell by hold or have limits: for receipts that mint_held_receipts did not decide. Each
-- needs a slot, and keys that count for no hold or membership. A payment that comes after the hold of its user has ended,
-- and finds no free number, joins the line. If another process counts the same key at this moment, a unique index fails
-- the whole batch.
-- $1 to $11 and $13 as in mint_receipts, $12 holds that the receipts name, and the person keys: $14 the receipt's place
-- in $2 (from 1), $15 kind, $16 digest
-- Holds and keys are looked up one by one, in places by a sub-select with LIMIT: EXISTS or an outer join may be planned,
-- while the tables are small, as a walk over all of the drop.
-- Returns rows like mint_receipts, with these further outcomes, each the reason of a FAILED receipt:
--   HELD_OUT, LIMIT_REACHED, HOLD_REQUIRED
--   HOLD_EXPIRED  the receipt is in the line for the next number that comes back
--   HOLD_UNKNOWN  the receipt names a hold that is not its user's
--   HOLD_OFFERED  a number is held for this receipt and another user
WITH asked AS (
  SELECT * FROM unnest($2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                       $12::uuid[]) WITH ORDINALITY
    AS asked (receipt_key, user_id, email, device_id, public_key, thumbprint, kind, transaction_id, hold_named, ask)
), selling AS (
  SELECT {early_or_late}, sale,
         EXISTS (SELECT FROM slots WHERE drop_id = $1 AND sort_order >= 0) AS any_free,
         EXISTS (SELECT FROM holds WHERE drop_id = $1 AND state = 'HELD') AS any_held
  FROM drops WHERE id = $1
), known AS (
  {known}
), own AS MATERIALIZED (
  -- A receipt that may use a live hold waits for the next batch: mint_held_receipts did not see the hold, or found it
  -- locked.
  SELECT ask
  FROM asked JOIN holds h ON h.drop_id = $1 AND h.user_id = asked.user_id AND h.state = 'HELD'
    LEFT JOIN holds n ON n.id = hold_named AND n.user_id = asked.user_id AND n.drop_id = $1
      AND n.state IN ('LAPSED', 'RELEASED')
    LEFT JOIN known k ON k.receipt_key = asked.receipt_key
  WHERE {may_use_hold}
), keys AS (
  SELECT ask, key.kind, key.digest, p.digest IS NOT NULL AS is_known, p.held_by IS NOT NULL AS is_counted
  FROM unnest($14::bigint[], $15::text[], $16::bytea[]) AS key (ask, kind, digest)
    LEFT JOIN LATERAL (
      SELECT digest, held_by FROM person_keys WHERE drop_id = $1 AND kind = key.kind AND digest = key.digest LIMIT 1
    ) AS p ON true
), verdict AS (
  SELECT asked.*, early,
         CASE WHEN has_hold THEN NULL
              WHEN EXISTS (
                SELECT FROM known k WHERE k.receipt_key = asked.receipt_key AND k.reason = 'HOLD_OFFERED')
                THEN 'HOLD_OFFERED'
              WHEN hold_named IS NOT NULL AND (
                SELECT h.user_id FROM holds h WHERE h.id = hold_named AND h.drop_id = $1) IS DISTINCT FROM asked.user_id
                THEN 'HOLD_UNKNOWN'
              WHEN early THEN 'DROP_NOT_OPEN' WHEN late THEN 'DROP_CLOSED'
              WHEN sale = 'draw' THEN 'HOLD_REQUIRED'
              WHEN EXISTS (SELECT FROM keys WHERE keys.ask = asked.ask AND is_counted) THEN 'LIMIT_REACHED'
              WHEN any_free THEN NULL
              WHEN (SELECT true FROM holds h
                    WHERE h.drop_id = $1 AND h.user_id = asked.user_id AND h.state IN ('LAPSED', 'RELEASED') LIMIT 1)
                THEN 'HOLD_EXPIRED'
              WHEN any_held THEN 'HELD_OUT' ELSE 'SOLD_OUT' END AS refusal
  FROM (SELECT *, ask = ANY (ARRAY(SELECT ask FROM own)) AS has_hold FROM asked) AS asked CROSS JOIN selling
), locked AS (
  -- Receipts that stay refused for the same reason are not locked: a lock would write to the disk for every retry.
  -- If a receipt's reason has changed since this statement began, it waits for the next batch: a number may be held for it.
  SELECT l.receipt_key FROM receipt_ledger l
  WHERE l.receipt_key = ANY (ARRAY(
          SELECT k.receipt_key FROM known k JOIN verdict v USING (receipt_key)
          WHERE (k.state = 'PENDING' OR k.state = 'FAILED' AND k.reason IS DISTINCT FROM v.refusal)
            AND NOT v.has_hold AND v.refusal IS DISTINCT FROM 'DROP_NOT_OPEN'))
    AND l.state IN ('PENDING', 'FAILED')
    AND l.reason IS NOT DISTINCT FROM (SELECT k.reason FROM known k WHERE k.receipt_key = l.receipt_key)
  ORDER BY l.receipt_key
  FOR UPDATE SKIP LOCKED
), seeking AS (
  -- If receipts in one batch share a key, the first goes on; the others wait for the next batch.
  SELECT ask, row_number() OVER (ORDER BY ask) AS place FROM verdict v
  WHERE refusal IS NULL AND NOT has_hold
    AND (receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known))
         OR receipt_key = ANY (ARRAY(SELECT receipt_key FROM locked)))
    AND NOT EXISTS (
      SELECT FROM keys mine JOIN keys other USING (kind, digest) WHERE mine.ask = v.ask AND other.ask < v.ask)
), claimed AS (
  SELECT slot, sort_order, sequence_num, row_number() OVER () AS place FROM (
    SELECT ctid AS slot, sort_order, sequence_num FROM slots
    WHERE drop_id = $1 AND sort_order > $11
    ORDER BY sort_order
    LIMIT least($10::int, (SELECT count(*) FROM seeking))
    FOR UPDATE SKIP LOCKED) AS free
), chosen AS (
  SELECT ask, slot, sort_order, sequence_num FROM seeking JOIN claimed USING (place)
), spare AS (
  -- Known keys that count for no hold or membership now. Reads the newest state of a row, which may be newer than in `keys`.
  SELECT p.kind, p.digest
  FROM keys JOIN chosen USING (ask)
    JOIN person_keys p ON p.drop_id = $1 AND p.kind = keys.kind AND p.digest = keys.digest
  WHERE keys.is_known AND NOT keys.is_counted AND p.held_by IS NULL
  ORDER BY p.kind, p.digest
  FOR UPDATE OF p SKIP LOCKED
), decided AS (
  SELECT v.*, slot, sort_order, sequence_num, uuidv7() AS membership_id, uuidv7() AS pass_serial
  FROM verdict v LEFT JOIN (
    SELECT ask, slot, sort_order, sequence_num FROM chosen WHERE NOT EXISTS (
      SELECT FROM keys
      WHERE keys.ask = chosen.ask AND is_known AND (kind, digest) NOT IN (SELECT kind, digest FROM spare))
  ) AS sure USING (ask)
), entered AS (
  INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, transaction_id, reason)
  SELECT receipt_key,
         CASE WHEN sequence_num IS NOT NULL THEN 'FULFILLED'::receipt_state
              WHEN refusal IS NOT NULL THEN 'FAILED' ELSE 'PENDING' END,
         $1, user_id, kind, transaction_id, refusal
  FROM decided WHERE receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known))
  ORDER BY receipt_key
  ON CONFLICT (receipt_key) DO NOTHING
  RETURNING receipt_key
), turned AS (
  UPDATE receipt_ledger l
  SET state = CASE WHEN sequence_num IS NULL THEN 'FAILED'::receipt_state ELSE 'FULFILLED' END,
      user_id = CASE WHEN sequence_num IS NULL THEN l.user_id ELSE d.user_id END,
      drop_id = CASE WHEN sequence_num IS NULL THEN l.drop_id ELSE $1 END,
      reason = d.refusal, updated_at = now()
  FROM decided d JOIN locked USING (receipt_key)
  WHERE l.receipt_key = d.receipt_key
    AND (sequence_num IS NOT NULL OR d.refusal IS NOT NULL AND l.reason IS DISTINCT FROM d.refusal)
  RETURNING l.receipt_key
), written AS (
  SELECT receipt_key FROM entered UNION ALL SELECT receipt_key FROM turned
), won AS (
  SELECT * FROM decided WHERE sequence_num IS NOT NULL AND receipt_key = ANY (ARRAY(SELECT receipt_key FROM written))
), sold AS (
  DELETE FROM slots WHERE ctid = ANY (ARRAY(SELECT slot FROM won))
), counted AS (
  INSERT INTO person_keys (drop_id, kind, digest, held_by)
  SELECT DISTINCT ON (keys.kind, digest) $1, keys.kind, digest, membership_id
  FROM keys JOIN won USING (ask) WHERE NOT is_known ORDER BY keys.kind, digest, ask
), counted_again AS (
  UPDATE person_keys p SET held_by = membership_id
  FROM keys JOIN won USING (ask) JOIN spare ON spare.kind = keys.kind AND spare.digest = keys.digest
  WHERE p.drop_id = $1 AND p.kind = keys.kind AND p.digest = keys.digest
), joined_line AS (
  INSERT INTO late_payments (receipt_key, drop_id, user_id, user_digest)
  SELECT receipt_key, $1, user_id, (SELECT digest FROM keys WHERE keys.ask = decided.ask AND keys.kind = 'user')
  FROM decided WHERE refusal = 'HOLD_EXPIRED' AND receipt_key = ANY (ARRAY(SELECT receipt_key FROM written))
  ORDER BY receipt_key
  ON CONFLICT (receipt_key) DO NOTHING
), left_line AS (
  DELETE FROM late_payments WHERE receipt_key = ANY (ARRAY(
    SELECT receipt_key FROM decided JOIN turned USING (receipt_key) WHERE refusal IS DISTINCT FROM 'HOLD_EXPIRED'))
), {memberships_of_won}, tallied AS (
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
            WHEN d.refusal IS NOT NULL AND (
              entered.receipt_key IS NOT NULL OR locked.receipt_key IS NOT NULL
              OR k.state = 'FAILED' AND k.reason = d.refusal OR k.state IS NOT NULL AND d.refusal = 'DROP_NOT_OPEN')
              THEN replace(d.refusal, 'DROP_', '')
            ELSE 'WAITING' END,
       k.membership_id, k.user_id, k.drop_id, k.sequence_num, k.pass_serial, k.revoked, NULL
FROM decided d LEFT JOIN known k USING (receipt_key)
  LEFT JOIN entered USING (receipt_key) LEFT JOIN locked USING (receipt_key)
WHERE d.receipt_key <> ALL (ARRAY(SELECT receipt_key FROM won));

-- name: record_receipts
-- Step 2 after mint_receipts failed, so that paid receipts are in the ledger anyway. Enters new receipts as PENDING, and
-- returns the rows of mint_receipts for those that were decided before.
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
{decided};

-- name: find_decided
-- The rows of mint_receipts for receipts that were decided before: REPLAYED or REFUNDED. Locks and writes nothing.
-- A server that refuses writes may know less than the primary. There nothing is found, and mint_receipts fails. $1 keys
SELECT l.receipt_key, CASE WHEN l.state = 'FULFILLED' THEN 'REPLAYED' ELSE 'REFUNDED' END AS outcome,
       m.id AS membership_id, m.user_id, m.drop_id, m.sequence_num, m.pass_serial,
       m.revoked_at IS NOT NULL AS revoked, NULL::bigint AS sort_order
FROM receipt_ledger l LEFT JOIN memberships m USING (receipt_key)
WHERE l.receipt_key = ANY ($1::bytea[]) AND l.state IN ('FULFILLED', 'REFUND_DUE', 'REFUNDED')
  AND current_setting('transaction_read_only') = 'off';

-- name: find_minted
-- The drop in which a receipt has minted; no row if it has not. $1 key
SELECT drop_id FROM memberships WHERE receipt_key = $1;

-- name: fail_receipts
-- Fails PENDING receipts, with a reason, so that they can be refunded.
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
-- Fails receipts that a process left PENDING for longer than all its time limits, among those created in a range of time.
-- The BRIN index makes it read all receipts of that range. $1 and $2 the range, its end excluded, $3 grace in seconds,
-- $4 the most receipts
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

-- name: remaining_by_drop
-- How many slots are unclaimed, by the tallies: exact in the snapshot, without a scan. $1 drops, or NULL for all,
-- $2 the most drops, the newest ones
SELECT d.id, d.tier, d.year, d.environment, d.capacity - sum(t.taken)::int AS remaining, sum(t.held)::int AS held
FROM drops d JOIN drop_tallies t ON t.drop_id = d.id
WHERE $1::int[] IS NULL OR d.id = ANY ($1::int[])
GROUP BY d.id ORDER BY d.id DESC LIMIT $2;

-- name: find_drop
-- $1 tier, $2 year, $3 environment
SELECT id, tier, year, environment, sale, limits FROM drops WHERE tier = $1 AND year = $2 AND environment = $3;

-- name: find_drop_by_id
-- $1 drop
SELECT id, tier, year, environment, sale, limits FROM drops WHERE id = $1;

-- name: read_drop
-- A drop as callers see it, open or not by Postgres' clock. $1 drop
SELECT d.tier, d.year, d.environment, d.capacity, d.sale, t.taken, t.held, opens_at, closes_at, {early_or_late}
FROM drops d, LATERAL (
  SELECT sum(taken)::int AS taken, sum(held)::int AS held FROM drop_tallies WHERE drop_id = d.id) AS t
WHERE d.id = $1;

-- name: revoke_membership
-- Returns no row if it is unknown or already revoked. $1 membership, $2 reason, $3 whether its number is sold again
UPDATE memberships SET revoked_at = now(), revoked_reason = $2, number_freed = $3
WHERE id = $1 AND revoked_at IS NULL
RETURNING drop_id, sequence_num, receipt_key, number_freed;

-- name: lock_revoked_membership
-- Locks a revoked membership that may be restored: not that of an erased person. $1 membership
SELECT drop_id, sequence_num, number_freed FROM memberships
WHERE id = $1 AND revoked_at IS NOT NULL AND erased_at IS NULL FOR UPDATE;

-- name: take_number
-- Removes one number from those for sale; no row if it was sold or withdrawn. $1 drop, $2 number
DELETE FROM slots WHERE drop_id = $1 AND sequence_num = $2 RETURNING sequence_num;

-- name: restore_membership
-- The partial unique index refuses a number that has a new owner. $1 membership
UPDATE memberships SET revoked_at = NULL, revoked_reason = NULL, number_freed = false WHERE id = $1;

-- name: append_event
-- $1 membership, $2 kind
INSERT INTO membership_events (membership_id, kind) VALUES ($1, $2);

-- name: audit_drops
-- The sums that must always be right, in one snapshot. Index-only counts; the statement timeout limits them.
-- $1 a drop's id: the drops after it, $2 the most drops
SELECT d.id, d.tier, d.year, d.environment,
       greatest(0, (SELECT count(*) FROM memberships m WHERE m.drop_id = d.id AND m.revoked_at IS NULL) - d.capacity)
         AS over_capacity,
       d.capacity - (SELECT count(*) FROM slots s WHERE s.drop_id = d.id)
         - (SELECT coalesce(sum(taken), 0) FROM drop_tallies t WHERE t.drop_id = d.id) AS unaccounted,
       d.capacity - (SELECT count(*) FROM slots s WHERE s.drop_id = d.id)
         - (SELECT count(*) FROM holds h WHERE h.drop_id = d.id AND h.state = 'HELD')
         - (SELECT count(*) FROM memberships m WHERE m.drop_id = d.id AND m.revoked_at IS NULL)
         - (SELECT count(*) FROM memberships m
            WHERE m.drop_id = d.id AND m.revoked_at IS NOT NULL AND NOT m.number_freed) AS numbers_missing,
       (SELECT coalesce(sum(held), 0) FROM drop_tallies t WHERE t.drop_id = d.id)
         - (SELECT count(*) FROM holds h WHERE h.drop_id = d.id AND h.state = 'HELD') AS held_unaccounted
FROM drops d WHERE d.id > $1 ORDER BY d.id LIMIT $2;

-- name: first_drop_created_at
-- NULL if there is no drop.
SELECT min(created_at) FROM drops;

-- name: oldest_pending
-- When the oldest PENDING receipt of a range of time was created; NULL if there is none.
-- $1 and $2 the range, its end excluded
SELECT min(created_at) FROM receipt_ledger WHERE state = 'PENDING' AND created_at >= $1 AND created_at < $2;

-- name: remember_merchant_key
-- A key that has proven a receipt. $1 issuer, $2 kid or '', $3 canonical JWK
INSERT INTO merchant_keys (issuer, kid, public_key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: list_merchant_keys
-- The newest keys that ever proved a receipt. $1 issuer, $2 the most keys
SELECT kid, public_key FROM merchant_keys WHERE issuer = $1 ORDER BY first_used_at DESC LIMIT $2;
