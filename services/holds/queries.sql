-- name: take_holds
-- One statement, and so one transaction: claim as many slots as users may take, insert the holds and the person keys,
-- delete the slots, add to the tally. A refusal writes nothing.
-- If another process takes the same key or user at this moment, a unique index refuses the statement: nothing of this
-- batch is written, and the next batch sees what was taken. Users and keys are inserted in their order: no deadlock.
-- $1 drop, $2 users (sorted), $3 whose key (place in $2, from 1), $4 kinds, $5 digests, $6 how many slots to claim at most,
-- $7 claim slots beyond this sort_order, $8 tally writer
-- Returns a row for each user:
--   HELD           this statement took the hold; sort_order is that of its slot
--   REPLAYED       the user has a live hold
--   LIMIT_REACHED  a key of the user counts already, or was used too often
--   NOT_OPEN, CLOSED, HELD_OUT, SOLD_OUT
--   WAITING        undecided: no slot was granted, or another transaction has a slot or a key
WITH asked AS (
  SELECT user_id, ask FROM unnest($2::text[]) WITH ORDINALITY AS asked (user_id, ask)
), keys AS (
  SELECT ask, key.kind, key.digest, p.digest IS NOT NULL AS known, p.held_by IS NOT NULL AS counted,
         coalesce(p.attempts, 0) AS attempts
  FROM unnest($3::bigint[], $4::text[], $5::bytea[]) AS key (ask, kind, digest)
    LEFT JOIN person_keys p ON p.drop_id = $1 AND p.kind = key.kind AND p.digest = key.digest
), selling AS (
  SELECT coalesce(now() < opens_at, false) AS early, coalesce(now() >= closes_at, false) AS late,
         hold_ttl_s, hold_attempts,
         EXISTS (SELECT FROM slots WHERE drop_id = $1 AND sort_order >= 0) AS any_free,
         EXISTS (SELECT FROM holds WHERE drop_id = $1 AND state = 'HELD') AS any_held
  FROM drops WHERE id = $1
), live AS (
  -- A join, so that each user is looked up: Postgres may plan `= ANY` as a walk over all holds of the drop.
  SELECT user_id, id, expires_at FROM unnest($2::text[]) AS asked (user_id)
    JOIN holds h USING (user_id) WHERE h.drop_id = $1 AND h.state = 'HELD'
), limited AS (
  SELECT DISTINCT ask FROM keys CROSS JOIN selling WHERE counted OR attempts >= hold_attempts
), seeking AS (
  -- If users in one batch share a key, the first goes on; the others wait for the next batch.
  SELECT user_id, ask, row_number() OVER (ORDER BY ask) AS place FROM asked CROSS JOIN selling
  WHERE NOT early AND NOT late
    AND user_id <> ALL (ARRAY(SELECT user_id FROM live)) AND ask <> ALL (ARRAY(SELECT ask FROM limited))
    AND NOT EXISTS (
      SELECT FROM keys own JOIN keys other USING (kind, digest) WHERE own.ask = asked.ask AND other.ask < asked.ask)
), claimed AS (
  SELECT slot, sort_order, sequence_num, row_number() OVER () AS place FROM (
    SELECT ctid AS slot, sort_order, sequence_num FROM slots
    WHERE drop_id = $1 AND sort_order > $7
    ORDER BY sort_order
    LIMIT least($6::int, (SELECT count(*) FROM seeking))
    FOR UPDATE SKIP LOCKED) AS free
), chosen AS (
  SELECT user_id, ask, slot, sort_order, sequence_num, uuidv7() AS id FROM seeking JOIN claimed USING (place)
), spare AS (
  -- Keys that count for no hold or membership now. Reads the newest state of a row, which may be newer than in `keys`.
  SELECT p.kind, p.digest
  FROM keys JOIN chosen USING (ask)
    JOIN person_keys p ON p.drop_id = $1 AND p.kind = keys.kind AND p.digest = keys.digest
  WHERE p.held_by IS NULL AND p.attempts < (SELECT hold_attempts FROM selling)
  ORDER BY p.kind, p.digest
  FOR UPDATE OF p SKIP LOCKED
), won AS (
  SELECT * FROM chosen WHERE NOT EXISTS (
    SELECT FROM keys WHERE keys.ask = chosen.ask AND known AND (kind, digest) NOT IN (SELECT kind, digest FROM spare))
), held AS (
  INSERT INTO holds (id, drop_id, user_id, sequence_num, expires_at)
  SELECT id, $1, user_id, sequence_num, now() + make_interval(secs => hold_ttl_s)
  FROM won CROSS JOIN selling ORDER BY user_id
  RETURNING id, user_id, expires_at
), counted AS (
  INSERT INTO person_keys (drop_id, kind, digest, held_by, attempts)
  SELECT $1, kind, digest, id, 1 FROM keys JOIN won USING (ask) WHERE NOT known ORDER BY kind, digest
), counted_again AS (
  UPDATE person_keys p SET held_by = id, attempts = p.attempts + 1
  FROM keys JOIN won USING (ask)
  WHERE p.drop_id = $1 AND p.kind = keys.kind AND p.digest = keys.digest AND known
), sold AS (
  DELETE FROM slots WHERE ctid = ANY (ARRAY(SELECT slot FROM won))
), tallied AS (
  UPDATE drop_tallies SET taken = taken + (SELECT count(*) FROM won), held = held + (SELECT count(*) FROM won)
  WHERE drop_id = $1 AND writer = $8 AND EXISTS (SELECT FROM won)
)
SELECT asked.user_id,
       CASE WHEN held.id IS NOT NULL THEN 'HELD'
            WHEN live.id IS NOT NULL THEN 'REPLAYED'
            WHEN early THEN 'NOT_OPEN' WHEN late THEN 'CLOSED'
            WHEN limited.ask IS NOT NULL THEN 'LIMIT_REACHED'
            WHEN any_free THEN 'WAITING'
            WHEN any_held THEN 'HELD_OUT' ELSE 'SOLD_OUT' END AS outcome,
       coalesce(held.id, live.id) AS id, coalesce(held.expires_at, live.expires_at) AS expires_at, won.sort_order
FROM asked CROSS JOIN selling
  LEFT JOIN held USING (user_id) LEFT JOIN live USING (user_id) LEFT JOIN limited USING (ask) LEFT JOIN won USING (ask);

-- name: answer_without_slots
-- take_holds for a drop where no number was free a moment ago: reads each user's answer, and takes nothing. A refusal
-- costs a few index look-ups. $1 to $5 as in take_holds
-- Returns rows as take_holds does for users who have a hold or reached a limit, and one without a user: the answer for
-- all others.
WITH selling AS (
  SELECT coalesce(now() < opens_at, false) AS early, coalesce(now() >= closes_at, false) AS late, hold_attempts,
         EXISTS (SELECT FROM slots WHERE drop_id = $1 AND sort_order >= 0) AS any_free,
         EXISTS (SELECT FROM holds WHERE drop_id = $1 AND state = 'HELD') AS any_held
  FROM drops WHERE id = $1
), live AS (
  SELECT user_id, id, expires_at FROM unnest($2::text[]) AS asked (user_id)
    JOIN holds h USING (user_id) WHERE h.drop_id = $1 AND h.state = 'HELD'
), limited AS (
  SELECT DISTINCT ($2::text[])[ask] AS user_id
  FROM unnest($3::bigint[], $4::text[], $5::bytea[]) AS key (ask, kind, digest)
    JOIN person_keys p ON p.drop_id = $1 AND p.kind = key.kind AND p.digest = key.digest
  WHERE p.held_by IS NOT NULL OR p.attempts >= (SELECT hold_attempts FROM selling)
)
SELECT user_id, 'REPLAYED' AS outcome, id, expires_at, NULL::bigint AS sort_order FROM live
UNION ALL
SELECT user_id, 'LIMIT_REACHED', NULL, NULL, NULL FROM limited CROSS JOIN selling
WHERE NOT early AND NOT late AND user_id <> ALL (ARRAY(SELECT user_id FROM live))
UNION ALL
SELECT NULL,
       CASE WHEN early THEN 'NOT_OPEN' WHEN late THEN 'CLOSED'
            WHEN any_free THEN 'WAITING'
            WHEN any_held THEN 'HELD_OUT' ELSE 'SOLD_OUT' END,
       NULL, NULL, NULL
FROM selling;

-- name: read_hold
-- $1 hold
SELECT h.id, h.drop_id, h.user_id, h.state::text AS state, h.expires_at, h.membership_id, h.extensions, d.tier, d.year,
       d.hold_extensions
FROM holds h JOIN drops d ON d.id = h.drop_id WHERE h.id = $1;

-- name: end_hold
-- Returns no row if the hold has ended already. $1 hold, $2 state
UPDATE holds SET state = $2::hold_state, ended_at = now() WHERE id = $1 AND state = 'HELD'
RETURNING id, drop_id, sequence_num, receipt_key;

-- name: extend_hold
-- One more period. Returns no row if the hold has ended, or was extended as often as the drop allows. $1 hold
UPDATE holds h SET expires_at = h.expires_at + make_interval(secs => d.hold_ttl_s), extensions = h.extensions + 1
FROM drops d
WHERE h.id = $1 AND d.id = h.drop_id AND h.state = 'HELD' AND h.expires_at > now() AND h.extensions < d.hold_extensions
RETURNING h.expires_at;

-- name: end_offers
-- The receipts of late payers whose offered hold ended can be refunded. $1 receipts (sorted)
UPDATE receipt_ledger SET reason = 'OFFER_LAPSED', updated_at = now()
WHERE receipt_key = ANY ($1::bytea[]) AND state = 'FAILED' AND reason = 'HOLD_OFFERED';

-- name: find_due_drops
-- Drops with holds whose time and grace are over. $1 grace in seconds, $2 the most rows
SELECT DISTINCT drop_id FROM holds
WHERE state = 'HELD' AND expires_at < now() - make_interval(secs => $1) ORDER BY drop_id LIMIT $2;

-- name: lapse_holds
-- Ends holds whose time and grace are over. Leaves out a hold that a payment has locked: the next round looks again.
-- $1 drop, $2 grace in seconds, $3 the most rows
WITH due AS (
  SELECT id FROM holds
  WHERE state = 'HELD' AND expires_at < now() - make_interval(secs => $2) AND drop_id = $1
  ORDER BY expires_at LIMIT $3
  FOR UPDATE SKIP LOCKED
)
UPDATE holds h SET state = 'LAPSED', ended_at = now() FROM due WHERE h.id = due.id
RETURNING h.id, h.drop_id, h.sequence_num, h.receipt_key;
