-- part: in_line
-- Late payments that may get a number: their user has no live hold, and no membership that counts. Of several receipts of
-- one user the oldest comes first.
FROM late_payments l JOIN receipt_ledger r USING (receipt_key) JOIN drops d ON d.id = l.drop_id
WHERE l.drop_id = $1 AND r.state = 'FAILED' AND r.reason = 'HOLD_EXPIRED'
  AND (d.closes_at <= now()) IS NOT TRUE
  AND NOT EXISTS (SELECT FROM holds h WHERE h.drop_id = $1 AND h.user_id = l.user_id AND h.state = 'HELD')
  AND NOT EXISTS (
    SELECT FROM person_keys p
    WHERE p.drop_id = $1 AND p.kind = 'user' AND p.digest = l.user_digest AND p.held_by IS NOT NULL)
  AND NOT EXISTS (
    SELECT FROM late_payments e JOIN receipt_ledger er USING (receipt_key)
    WHERE e.drop_id = $1 AND e.user_id = l.user_id AND e.place < l.place
      AND er.state = 'FAILED' AND er.reason = 'HOLD_EXPIRED')

-- name: hold_for_late_payers
-- Gives the numbers to the first in line, as holds that only their own receipts can use. Locks the ledger's rows: a
-- receipt is exported for a refund, or gets a number, never both. Returns the numbers that were given.
-- $1 drop, $2 numbers, $3 how long such a hold lasts in seconds (not beyond the close, but no shorter than other holds)
WITH line AS (
  SELECT l.receipt_key, l.user_id, l.user_digest {in_line}
  ORDER BY l.place LIMIT cardinality($2::int[])
  FOR UPDATE OF r
), served AS (
  SELECT receipt_key, user_id, user_digest, sequence_num, uuidv7() AS id
  FROM (SELECT *, row_number() OVER () AS turn FROM line) AS turns
    JOIN unnest($2::int[]) WITH ORDINALITY AS number (sequence_num, turn) USING (turn)
), offered AS (
  UPDATE receipt_ledger SET reason = 'HOLD_OFFERED', updated_at = now()
  WHERE receipt_key = ANY (ARRAY(SELECT receipt_key FROM served))
), gone AS (
  DELETE FROM late_payments WHERE receipt_key = ANY (ARRAY(SELECT receipt_key FROM served))
), counted AS (
  INSERT INTO person_keys AS p (drop_id, kind, digest, held_by)
  SELECT $1, 'user', user_digest, id FROM served WHERE user_digest IS NOT NULL ORDER BY user_digest
  ON CONFLICT (drop_id, kind, digest) DO UPDATE SET held_by = EXCLUDED.held_by WHERE p.held_by IS NULL
)
INSERT INTO holds (id, drop_id, user_id, sequence_num, expires_at, receipt_key)
SELECT served.id, $1, user_id, sequence_num,
       greatest(now() + make_interval(secs => hold_ttl_s), least(now() + make_interval(secs => $3), closes_at)),
       receipt_key
FROM served CROSS JOIN drops WHERE drops.id = $1
RETURNING sequence_num;

-- name: put_up_for_sale
-- $1 drop, $2 numbers, $3 a random sort_order for each
INSERT INTO slots (drop_id, sort_order, sequence_num)
SELECT $1, sort_order, sequence_num FROM unnest($3::bigint[], $2::int[]) AS number (sort_order, sequence_num);

-- name: add_to_tally
-- $1 drop, $2 how many more are taken, $3 how many more of them are held (negative: fewer), $4 writer
UPDATE drop_tallies SET taken = taken + $2, held = held + $3 WHERE drop_id = $1 AND writer = $4;

-- name: find_lines
-- Drops with late payers in line and numbers for sale. $1 the most rows
SELECT DISTINCT drop_id FROM late_payments l
WHERE EXISTS (SELECT FROM slots s WHERE s.drop_id = l.drop_id) ORDER BY drop_id LIMIT $1;

-- name: take_for_line
-- Takes as many numbers from the sale as there are payments in line. $1 drop
DELETE FROM slots WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM slots WHERE drop_id = $1 AND sort_order >= 0
  ORDER BY sort_order LIMIT (SELECT count(*) {in_line}) FOR UPDATE SKIP LOCKED))
RETURNING sequence_num;
