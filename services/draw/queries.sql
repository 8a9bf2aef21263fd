-- part: takes_entries
-- Whether a draw `d` takes entries and withdrawals. The close waits for every transaction that reads it with FOR SHARE;
-- a transaction after the close sees the close.
now() >= d.entries_open AND now() < d.entries_close AND d.closed_at IS NULL AND d.cancelled_at IS NULL

-- part: checkpoint_in_force
LEFT JOIN draw_checkpoints c ON c.drop_id = d.drop_id AND c.refused IS NULL

-- name: read_terms
-- $1 drop
SELECT terms, terms_hash FROM draws WHERE drop_id = $1;

-- name: enter
-- One statement, and so one transaction, for a batch: the entries and the person keys. A refusal writes nothing.
-- The draw's row is locked FOR SHARE and checked in its newest state: either the close waits for this statement, or this
-- statement runs after the close and inserts nothing. CLOSED is answered only if the close is visible, and then every
-- entry is visible too: so no entry that was answered with CLOSED is in the tree.
-- If another process takes a key or a user at the same time, a unique index refuses the statement, and nothing of the
-- batch is written. Users and keys are inserted in their order: no deadlock.
-- $1 drop, $2 users (sorted), $3 ids, $4 salts, $5 leaf hashes, $6 whose key (place in $2, from 1), $7 kinds, $8 digests,
-- $9 how often a user can enter, withdrawn entries included
-- Returns a row for each user:
--   ENTERED        this statement wrote the entry
--   REPLAYED       the user has an entry
--   LIMIT_REACHED  a key of the user counts already, or the user entered too often
--   NOT_OPEN, CLOSED
--   WAITING        undecided: another process works on a key, or the close has begun
WITH asked AS (
  SELECT * FROM unnest($2::text[], $3::uuid[], $4::bytea[], $5::bytea[]) WITH ORDINALITY
    AS asked (user_id, id, salt, leaf_hash, ask)
), keys AS (
  SELECT ask, key.kind, key.digest, p.digest IS NOT NULL AS known, p.held_by IS NOT NULL AS counted,
         coalesce(p.attempts, 0) AS attempts
  FROM unnest($6::bigint[], $7::text[], $8::bytea[]) AS key (ask, kind, digest)
    LEFT JOIN person_keys p ON p.drop_id = $1 AND p.kind = key.kind AND p.digest = key.digest
), seen AS (
  SELECT now() < entries_open AS early, closed_at IS NOT NULL OR cancelled_at IS NOT NULL AS closed
  FROM draws WHERE drop_id = $1
), live AS (
  SELECT user_id, id, salt, leaf_hash, entered_at FROM entries
  WHERE drop_id = $1 AND user_id = ANY ($2::text[]) AND withdrawn_at IS NULL
), limited AS (
  SELECT DISTINCT ask FROM keys WHERE counted OR kind = 'user' AND attempts >= $9
), open AS (
  SELECT d.drop_id FROM draws d WHERE d.drop_id = $1 AND {takes_entries} FOR SHARE
), seeking AS (
  -- Of users in one batch who share a key, the first continues; the others go into the next batch.
  SELECT asked.* FROM asked CROSS JOIN open
  WHERE user_id <> ALL (ARRAY(SELECT user_id FROM live)) AND ask <> ALL (ARRAY(SELECT ask FROM limited))
    AND NOT EXISTS (
      SELECT FROM keys own JOIN keys other USING (kind, digest) WHERE own.ask = asked.ask AND other.ask < asked.ask)
), spare AS (
  -- Keys that count for nothing now. The newest state of a row is read, which may be newer than in `keys`.
  SELECT p.kind, p.digest
  FROM keys JOIN seeking USING (ask)
    JOIN person_keys p ON p.drop_id = $1 AND p.kind = keys.kind AND p.digest = keys.digest
  WHERE p.held_by IS NULL AND (p.kind <> 'user' OR p.attempts < $9)
  ORDER BY p.kind, p.digest
  FOR UPDATE OF p SKIP LOCKED
), won AS (
  SELECT * FROM seeking WHERE NOT EXISTS (
    SELECT FROM keys WHERE keys.ask = seeking.ask AND known AND (kind, digest) NOT IN (SELECT kind, digest FROM spare))
), entered AS (
  INSERT INTO entries (id, drop_id, user_id, salt, leaf_hash)
  SELECT id, $1, user_id, salt, leaf_hash FROM won ORDER BY user_id
  RETURNING id, user_id, salt, leaf_hash, entered_at
), counted AS (
  INSERT INTO person_keys (drop_id, kind, digest, held_by, attempts)
  SELECT $1, kind, digest, id, 1 FROM keys JOIN won USING (ask) WHERE NOT known ORDER BY kind, digest
), counted_again AS (
  UPDATE person_keys p SET held_by = id, attempts = p.attempts + 1
  FROM keys JOIN won USING (ask)
  WHERE p.drop_id = $1 AND p.kind = keys.kind AND p.digest = keys.digest AND known
)
SELECT asked.user_id,
       CASE WHEN e.id IS NOT NULL THEN 'ENTERED'
            WHEN live.id IS NOT NULL THEN 'REPLAYED'
            WHEN early THEN 'NOT_OPEN' WHEN closed THEN 'CLOSED'
            WHEN limited.ask IS NOT NULL THEN 'LIMIT_REACHED' ELSE 'WAITING' END AS outcome,
       coalesce(e.id, live.id) AS id, coalesce(e.salt, live.salt) AS salt,
       coalesce(e.leaf_hash, live.leaf_hash) AS leaf_hash, coalesce(e.entered_at, live.entered_at) AS entered_at
FROM asked CROSS JOIN seen
  LEFT JOIN entered e USING (user_id) LEFT JOIN live USING (user_id) LEFT JOIN limited USING (ask);

-- name: find_entry
-- An entry, its drop, and the state of the draw. $1 entry
SELECT e.id, e.drop_id, e.user_id, e.salt, e.leaf_hash, e.entered_at, e.withdrawn_at, p.tier, p.year, d.seed,
       c.round IS NOT NULL AS is_published, r.rank, o.wave, o.sequence_num, h.id AS hold_id, h.state::text AS hold_state,
       h.expires_at
FROM entries e JOIN drops p ON p.id = e.drop_id JOIN draws d ON d.drop_id = e.drop_id
  {checkpoint_in_force}
  LEFT JOIN draw_ranks r ON r.entry_id = e.id
  LEFT JOIN draw_offers o ON o.drop_id = e.drop_id AND o.rank = r.rank
  LEFT JOIN holds h ON h.id = o.hold_id
WHERE e.id = $1;

-- name: withdraw
-- No row if entries are closed, or the entry is withdrawn already. $1 entry
WITH open AS (
  SELECT d.drop_id FROM draws d
  WHERE d.drop_id = (SELECT drop_id FROM entries WHERE id = $1) AND {takes_entries} FOR SHARE
), gone AS (
  UPDATE entries SET withdrawn_at = now() WHERE id = $1 AND withdrawn_at IS NULL AND drop_id = (SELECT drop_id FROM open)
  RETURNING id
), released AS (
  UPDATE person_keys SET held_by = NULL WHERE held_by = (SELECT id FROM gone)
)
SELECT id FROM gone;

-- name: find_offer
-- The live offer of a user. $1 drop, $2 user
SELECT h.id, h.expires_at FROM holds h WHERE h.drop_id = $1 AND h.user_id = $2 AND h.state = 'HELD';

-- name: read_draw
-- A draw's public state. $1 drop
SELECT d.*, p.tier, p.year, p.capacity, p.closes_at, now() AS now, now() >= p.closes_at AS is_over,
       c.round, c.round_at, c.note,
       ARRAY(SELECT json_build_object('round', r.round, 'checkpoint', r.note, 'reason', r.refused)::text
             FROM draw_checkpoints r WHERE r.drop_id = d.drop_id AND r.refused IS NOT NULL ORDER BY r.round) AS refused
FROM draws d JOIN drops p ON p.id = d.drop_id {checkpoint_in_force}
WHERE d.drop_id = $1;

-- name: read_leaf_page
-- No row before the root is published. $1 drop, $2 kind, $3 page
SELECT leaves FROM draw_leaf_pages l
WHERE drop_id = $1 AND kind = $2 AND page = $3 AND EXISTS (SELECT FROM draw_checkpoints c WHERE c.drop_id = $1);

-- name: read_leaf_pages
-- All of the tree's. $1 drop
SELECT leaves FROM draw_leaf_pages WHERE drop_id = $1 AND kind = 'tree' ORDER BY page;

-- name: list_offers
-- $1 drop, $2 from this rank on, $3 the most rows
SELECT rank, leaf_hash, wave, coalesce(sequence_num, 0) AS number FROM draw_offers
WHERE drop_id = $1 AND rank >= $2 ORDER BY rank LIMIT $3;

-- name: find_work
-- Draws with a step that is due, and which step; those that only offer numbers again come last. $1 the most rows
SELECT d.drop_id, p.tier, p.year, d.challenge_s, d.chain_hash, d.terms, d.terms_hash, d.entries, d.root, d.entries_close,
       d.signature, d.seed, d.offered_rank, c.round, c.round_at, now() AS now,
       CASE WHEN d.closed_at IS NULL THEN 'CLOSE' WHEN d.root IS NULL THEN 'COUNT' WHEN c.round IS NULL THEN 'PUBLISH'
            WHEN c.shown_at IS NULL THEN 'SHOW' WHEN d.signature IS NULL THEN 'FETCH' WHEN d.seed IS NULL THEN 'DRAW'
            ELSE 'OFFER' END AS step,
       d.seed IS NOT NULL AND d.offered_rank < d.entries AND EXISTS (SELECT FROM slots s WHERE s.drop_id = d.drop_id)
         AS has_free
FROM draws d JOIN drops p ON p.id = d.drop_id {checkpoint_in_force}
WHERE d.done_at IS NULL AND d.cancelled_at IS NULL AND d.entries_close <= now()
  AND (c.shown_at IS NULL OR c.round_at <= now())
ORDER BY d.seed IS NOT NULL, d.entries_close, d.drop_id LIMIT $1;

-- name: close_entries
-- Waits for all transactions that have locked the row FOR SHARE. Others that began before the close may still lock it:
-- no row for $2 seconds as long as there is one, because its own now() is before the close. $1 drop
UPDATE draws d SET closed_at = now()
WHERE drop_id = $1 AND closed_at IS NULL AND cancelled_at IS NULL AND now() >= entries_close
  AND (now() > entries_close + make_interval(secs => $2)
       OR NOT EXISTS (
         SELECT FROM pg_stat_activity a
         WHERE a.datname = current_database() AND a.application_name = current_setting('application_name')
           AND a.pid <> pg_backend_pid() AND a.xact_start < d.entries_close))
RETURNING drop_id;

-- name: lock_draw
-- $1 drop
SELECT d.*, p.tier, p.year, p.capacity, p.closes_at, p.hold_ttl_s, p.refund_frees_number, now() AS now,
       now() >= p.closes_at AS is_over
FROM draws d JOIN drops p ON p.id = d.drop_id WHERE d.drop_id = $1 FOR UPDATE OF d;

-- name: read_leaves
-- $1 drop
SELECT leaf_hash, withdrawn_at IS NOT NULL AS is_withdrawn FROM entries WHERE drop_id = $1;

-- name: write_leaf_pages
-- $1 drop, $2 kind, $3 pages, from the first on
INSERT INTO draw_leaf_pages (drop_id, kind, page, leaves)
SELECT $1, $2, page - 1, leaves FROM unnest($3::bytea[]) WITH ORDINALITY AS written (leaves, page);

-- name: commit_to_root
-- $1 drop, $2 entries, $3 withdrawn, $4 root
UPDATE draws SET entries = $2, withdrawn = $3, root = $4 WHERE drop_id = $1;

-- name: read_checkpoints
-- $1 drop
SELECT round, round_at, refused FROM draw_checkpoints WHERE drop_id = $1 ORDER BY round;

-- name: write_checkpoint
-- $1 drop, $2 round, $3 when it is due, $4 note
INSERT INTO draw_checkpoints (drop_id, round, round_at, note) VALUES ($1, $2, $3, $4);

-- name: show_checkpoint
-- Runs in a later transaction than the one that wrote the checkpoint: so it is committed, and all can read it. If that is
-- too late for its round, it is refused. $1 drop, $2 challenge_s
UPDATE draw_checkpoints
SET shown_at = CASE WHEN now() + make_interval(secs => $2::int) <= round_at THEN now() END,
    refused = CASE WHEN now() + make_interval(secs => $2::int) > round_at
              THEN 'It could be read less than ' || $2::int || ' s before its round was due' END
WHERE drop_id = $1 AND refused IS NULL AND shown_at IS NULL
RETURNING round, refused;

-- name: keep_signature
-- No row unless the draw waits for this round. $1 drop, $2 round, $3 verified signature
UPDATE draws SET signature = $3
WHERE drop_id = $1 AND signature IS NULL AND seed IS NULL AND cancelled_at IS NULL
  AND EXISTS (SELECT FROM draw_checkpoints c WHERE c.drop_id = $1 AND c.round = $2 AND c.shown_at IS NOT NULL)
RETURNING drop_id;

-- name: read_entries
-- The entries whose leaves are in the tree. $1 drop
SELECT id, user_id, salt, leaf_hash FROM entries WHERE drop_id = $1 AND withdrawn_at IS NULL;

-- name: record_draw
-- $1 drop, $2 seed
UPDATE draws SET seed = $2, drawn_at = now() WHERE drop_id = $1 AND seed IS NULL;

-- name: free_numbers
-- Numbers without a membership and without an offer, each locked. $1 drop, $2 the most rows
SELECT sequence_num FROM slots WHERE drop_id = $1 AND sort_order >= 0 ORDER BY sort_order LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: next_ranks
-- The next ranks; a NULL user is an erased person. $1 drop, $2 after this rank, $3 the most rows
SELECT r.rank, r.entry_id, e.leaf_hash, e.user_id FROM draw_ranks r JOIN entries e ON e.id = r.entry_id
WHERE r.drop_id = $1 AND r.rank > $2 ORDER BY r.rank LIMIT $3;

-- name: make_offers
-- Each rank with a number gets a hold on it, and its person keys count for the hold from now on: a membership takes over
-- the id of its hold, and with it the keys. Ids follow the time, so that neighbours in time are neighbours in the indexes.
-- $1 drop, $2 wave, $3 ranks, $4 their entries, $5 leaf hashes, $6 users (NULL: passed over), $7 numbers (NULL: none),
-- $8 how long an offer lasts in seconds
WITH offered AS (
  SELECT rank, entry_id, leaf_hash, user_id, sequence_num,
         CASE WHEN sequence_num IS NOT NULL THEN uuidv7() END AS hold_id
  FROM unnest($3::int[], $4::uuid[], $5::bytea[], $6::text[], $7::int[])
    AS offered (rank, entry_id, leaf_hash, user_id, sequence_num)
), taken AS (
  DELETE FROM slots WHERE drop_id = $1 AND sequence_num = ANY ($7::int[]) RETURNING sequence_num
), held AS (
  INSERT INTO holds (id, drop_id, user_id, sequence_num, expires_at)
  SELECT hold_id, $1, user_id, sequence_num, least(now() + make_interval(secs => $8), closes_at)
  FROM offered JOIN taken USING (sequence_num) CROSS JOIN drops WHERE drops.id = $1
  RETURNING id, expires_at
), carried AS (
  UPDATE person_keys p SET held_by = hold_id FROM offered WHERE p.held_by = entry_id AND hold_id IS NOT NULL
), noted AS (
  INSERT INTO draw_offers (drop_id, rank, leaf_hash, wave, sequence_num, hold_id)
  SELECT $1, rank, leaf_hash, $2, sequence_num, hold_id FROM offered
)
SELECT count(*)::int AS made, max(expires_at) AS until FROM held;

-- name: record_wave
-- $1 drop, $2 wave, $3 last rank that was offered a number or passed over, $4 its key, $5 when the offers end
UPDATE draws SET wave = $2, offered_rank = $3, cutoff = $4, offer_until = greatest(offer_until, $5) WHERE drop_id = $1;

-- name: finish
-- Ends a draw that cannot change any more: the sale is over, or every number is sold for good, or no rank is left.
-- $1 drop
UPDATE draws d SET done_at = now() FROM drops p
WHERE d.drop_id = $1 AND p.id = d.drop_id AND d.seed IS NOT NULL AND d.done_at IS NULL
  AND (now() >= p.closes_at
       OR NOT EXISTS (SELECT FROM holds h WHERE h.drop_id = d.drop_id AND h.state = 'HELD')
          AND (d.offered_rank >= d.entries
               OR NOT p.refund_frees_number AND NOT EXISTS (SELECT FROM slots s WHERE s.drop_id = d.drop_id)))
RETURNING d.drop_id;

-- name: measure
-- How late each running draw is, in seconds; 0 if it is not late. $1 the most rows
SELECT p.tier, p.year,
       CASE WHEN c.shown_at IS NULL AND d.entries_close < now() THEN extract(epoch FROM now() - d.entries_close)
            ELSE 0 END::float8 AS root_late_s,
       CASE WHEN d.seed IS NULL AND c.shown_at IS NOT NULL AND c.round_at < now()
            THEN extract(epoch FROM now() - c.round_at) ELSE 0 END::float8 AS beacon_late_s,
       (d.seed IS NOT NULL AND d.offered_rank < d.entries AND now() < p.closes_at
        AND EXISTS (SELECT FROM slots s WHERE s.drop_id = d.drop_id)) AS has_free
FROM draws d JOIN drops p ON p.id = d.drop_id {checkpoint_in_force}
WHERE d.done_at IS NULL AND d.cancelled_at IS NULL ORDER BY d.entries_close LIMIT $1;

-- name: forget_entrants
-- Users and salts of draws that closed long ago; the leaves stay as random numbers. $1 days, $2 the most rows
UPDATE entries SET user_id = NULL, salt = NULL
WHERE ctid = ANY (ARRAY(
  SELECT e.ctid FROM entries e JOIN draws d USING (drop_id) JOIN drops p ON p.id = d.drop_id
  WHERE e.user_id IS NOT NULL AND p.closes_at < now() - make_interval(days => $1) LIMIT $2));
