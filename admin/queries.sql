-- part: early_or_late
-- Whether it is too early or too late for a drop, by Postgres' clock: as in services/mint/queries.sql.
coalesce(now() < opens_at, false) AS early, coalesce(now() >= closes_at, false) AS late

-- part: no_number_to_come
-- Whether a receipt `l` of the drop `d` gets no number any more. A late payment waits for one until the close; while a
-- number is held for it, it is not refunded.
(l.reason = 'HOLD_OFFERED' OR l.reason = 'HOLD_EXPIRED' AND (d.closes_at <= now()) IS NOT TRUE) IS NOT TRUE

-- part: takes_entries
-- Whether a draw `d` takes entries and withdrawals, as in services/draw/queries.sql.
now() >= d.entries_open AND now() < d.entries_close AND d.closed_at IS NULL AND d.cancelled_at IS NULL

-- name: list_drops
-- All drops, newest first, for the operator. $1 tier and $2 year, or NULL for all
SELECT d.id, tier, year, environment, capacity, opens_at, closes_at, refund_frees_number, created_at, sale, limits,
       hold_ttl_s, hold_extensions, hold_attempts, {early_or_late}, t.taken, t.held
FROM drops d, LATERAL (
  SELECT sum(taken)::int AS taken, sum(held)::int AS held FROM drop_tallies WHERE drop_id = d.id) AS t
WHERE ($1::text IS NULL OR tier = $1) AND ($2::text IS NULL OR year = $2)
ORDER BY created_at DESC, d.id DESC;

-- name: create_drop
-- Returns no row if the drop exists. $1 tier, $2 year, $3 environment, $4 capacity, $5 opens_at, $6 closes_at,
-- $7 refund_frees_number, $8 how it sells, $9 limits, $10 how long a hold lasts, $11 how often it can be extended, $12 holds a person can take
INSERT INTO drops (tier, year, environment, capacity, opens_at, closes_at, refund_frees_number, sale, limits, hold_ttl_s,
                   hold_extensions, hold_attempts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (tier, year, environment) DO NOTHING
RETURNING id;

-- name: create_tallies
-- A row for each writer, so that a tally is always an update. $1 drop, $2 writers
INSERT INTO drop_tallies (drop_id, writer) SELECT $1, generate_series(0, $2::int - 1);

-- name: create_secret
-- Stores the secret that the drop's person keys are digested with. $1 drop, $2 secret
INSERT INTO drop_secrets (drop_id, secret) VALUES ($1, $2);

-- name: lock_drop
-- Locks a drop against a second resize. $1 drop
SELECT capacity FROM drops WHERE id = $1 FOR UPDATE;

-- name: withdraw_slots
-- Removes the highest unclaimed numbers from a drop. $1 drop, $2 how many
DELETE FROM slots WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM slots WHERE drop_id = $1 ORDER BY sequence_num DESC LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING sequence_num;

-- name: free_numbers
-- The lowest numbers that no slot, hold or membership of the drop has. A number that a refund freed has left its membership.
-- $1 drop, $2 highest number, $3 how many
SELECT n FROM generate_series(1, $2::int) AS n
WHERE NOT EXISTS (SELECT FROM slots s WHERE s.drop_id = $1 AND s.sequence_num = n)
  AND NOT EXISTS (SELECT FROM holds h WHERE h.drop_id = $1 AND h.sequence_num = n AND h.state = 'HELD')
  AND NOT EXISTS (SELECT FROM memberships m WHERE m.drop_id = $1 AND m.sequence_num = n AND NOT m.number_freed)
ORDER BY n LIMIT $3;

-- name: set_capacity
-- $1 drop, $2 capacity
UPDATE drops SET capacity = $2 WHERE id = $1;

-- name: schedule_drop
-- When a drop sells; NULL is no limit. $1 drop, $2 opens_at, $3 closes_at
UPDATE drops SET opens_at = $2, closes_at = $3 WHERE id = $1 RETURNING opens_at, closes_at;

-- name: close_drop
-- Ends a drop's sale: the next statement mints nothing in it. $1 drop
UPDATE drops SET closes_at = least(closes_at, now()), opens_at = CASE WHEN opens_at < least(closes_at, now()) THEN opens_at END
WHERE id = $1 RETURNING opens_at, closes_at;

-- name: count_slots
-- Counts unclaimed slots row by row, to check the tallies. $1 drop
SELECT count(*) FROM slots WHERE drop_id = $1;

-- name: count_live
-- Live memberships of a drop. $1 drop
SELECT count(*) FROM memberships WHERE drop_id = $1 AND revoked_at IS NULL;

-- name: list_holds
-- Holds of a drop, newest first. $1 drop, $2 state or NULL for all, $3 user or NULL for all, $4 the most rows
SELECT id, user_id, state::text AS state, taken_at, expires_at, extensions, membership_id, receipt_key IS NOT NULL AS late
FROM holds
WHERE drop_id = $1 AND ($2::text IS NULL OR state::text = $2) AND ($3::text IS NULL OR user_id = $3)
ORDER BY taken_at DESC, id LIMIT $4;

-- name: count_keys
-- How the keys of a drop are used, by kind. $1 drop
SELECT kind, count(*) FILTER (WHERE held_by IS NOT NULL) AS counted, count(*) AS seen, max(attempts) AS most_attempts
FROM person_keys WHERE drop_id = $1 GROUP BY kind ORDER BY kind;

-- name: waive_keys
-- Deletes a person's key, and every other key of the same hold or membership, which stays. Also the keys of the person's
-- ended holds and memberships that count for nothing now: their attempts may be used up. $1 drop, $2 kind, $3 digest
WITH meant AS (
  SELECT held_by FROM person_keys WHERE drop_id = $1 AND kind = $2 AND digest = $3
), ended AS (
  SELECT other.kind, other.digest
  FROM released_keys own JOIN released_keys other USING (holder)
  WHERE own.drop_id = $1 AND own.kind = $2 AND own.digest = $3
)
DELETE FROM person_keys
WHERE drop_id = $1
  AND (kind = $2 AND digest = $3 OR held_by = (SELECT held_by FROM meant)
       OR held_by IS NULL AND (kind, digest) IN (SELECT kind, digest FROM ended))
RETURNING kind, held_by, attempts;

-- name: announce_draw
-- $1 drop, $2 terms, $3 their hash, $4 entries_open, $5 entries_close, $6 challenge_s, $7 chain
INSERT INTO draws (drop_id, terms, terms_hash, entries_open, entries_close, challenge_s, chain_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: cancel_draw
-- No row if the draw is over or cancelled. $1 drop, $2 the public reason
UPDATE draws SET cancelled_at = now(), cancel_reason = $2
WHERE drop_id = $1 AND cancelled_at IS NULL AND done_at IS NULL RETURNING drop_id;

-- name: end_offers
-- The live offers of a cancelled draw end now; a mint process takes their numbers back. $1 drop
UPDATE holds SET expires_at = least(expires_at, now()) WHERE drop_id = $1 AND state = 'HELD';

-- name: list_winners
-- Entries that have or had an offer, by rank. $1 drop
SELECT o.rank, o.wave, e.id AS entry_id, coalesce(e.user_id, '') AS user_id, coalesce(h.state::text, 'PASSED_OVER') AS state,
       h.expires_at, h.membership_id
FROM draw_offers o JOIN draw_ranks r ON r.drop_id = o.drop_id AND r.rank = o.rank JOIN entries e ON e.id = r.entry_id
  LEFT JOIN holds h ON h.id = o.hold_id
WHERE o.drop_id = $1 ORDER BY o.rank;

-- name: list_receipts
-- Receipts in a state, oldest first. A receipt that was refunded before it was sent has no drop and no user. $1 state, $2 the most rows
SELECT encode(l.receipt_key, 'hex') AS receipt_key, l.state::text AS state, l.reason, l.kind, l.transaction_id, l.user_id,
       d.tier, d.year, l.created_at
FROM receipt_ledger l LEFT JOIN drops d ON d.id = l.drop_id
WHERE l.state = $1::receipt_state
ORDER BY l.created_at LIMIT $2;

-- name: list_refunds_due
-- Paid receipts without a membership, oldest first: not yet exported (FAILED) and exported (REFUND_DUE). Leaves out test
-- purchases, which cost nothing, and receipts of a drop that is not open yet. $1 the most rows
SELECT encode(l.receipt_key, 'hex') AS receipt_key, l.state::text AS state, l.reason, l.kind, l.transaction_id, l.user_id,
       d.tier, d.year, l.created_at, l.updated_at
FROM receipt_ledger l LEFT JOIN drops d ON d.id = l.drop_id
WHERE (l.state = 'REFUND_DUE' OR (l.state = 'FAILED' AND (d.opens_at <= now()) IS NOT FALSE AND {no_number_to_come}))
  AND d.environment IS DISTINCT FROM 'sandbox'
ORDER BY l.created_at, l.receipt_key LIMIT $1;

-- name: export_refunds_due
-- Marks receipts for a refund, so that they never mint, and returns them. Leaves out receipts that mint now, and those of
-- a drop that is not open yet: their buyers can send them again.
-- $1 the most rows
WITH due AS (
  SELECT l.receipt_key FROM receipt_ledger l LEFT JOIN drops d ON d.id = l.drop_id
  WHERE l.state = 'FAILED' AND d.environment IS DISTINCT FROM 'sandbox'
    AND (d.opens_at <= now()) IS NOT FALSE AND {no_number_to_come}
  ORDER BY l.receipt_key LIMIT $1
  FOR UPDATE OF l SKIP LOCKED
), marked AS (
  UPDATE receipt_ledger l SET state = 'REFUND_DUE', updated_at = now()
  FROM due WHERE l.receipt_key = due.receipt_key
  RETURNING l.*
), left_line AS (
  DELETE FROM late_payments WHERE receipt_key = ANY (ARRAY(SELECT receipt_key FROM marked))
)
SELECT encode(m.receipt_key, 'hex') AS receipt_key, m.state::text AS state, m.reason, m.kind, m.transaction_id, m.user_id,
       d.tier, d.year, m.created_at, m.updated_at
FROM marked m LEFT JOIN drops d ON d.id = m.drop_id
ORDER BY m.created_at, m.receipt_key;

-- name: mark_refunded
-- Marks exported receipts as refunded. $1 keys (sorted)
WITH locked AS (
  SELECT receipt_key FROM receipt_ledger
  WHERE receipt_key = ANY ($1::bytea[]) AND state = 'REFUND_DUE'
  ORDER BY receipt_key FOR UPDATE
)
UPDATE receipt_ledger l SET state = 'REFUNDED', updated_at = now()
FROM locked WHERE l.receipt_key = locked.receipt_key
RETURNING encode(l.receipt_key, 'hex') AS receipt_key;

-- name: read_receipt_states
-- The states of receipts. $1 keys
SELECT receipt_key, state::text AS state FROM receipt_ledger WHERE receipt_key = ANY ($1::bytea[]);

-- name: list_not_restored
-- Refunds that were reversed after the number was sold again: these buyers paid and have no membership. $1 the most rows
SELECT n.kind, n.issuer, n.transaction_id, encode(n.receipt_key, 'hex') AS receipt_key, n.received_at,
       m.id AS membership_id, m.user_id, m.sequence_num, d.tier, d.year
FROM store_notifications n
JOIN receipt_refunds r ON r.receipt_key = n.receipt_key AND r.notification_id = n.notification_id
JOIN memberships m ON m.id = r.revoked_membership_id AND m.revoked_at IS NOT NULL
JOIN drops d ON d.id = m.drop_id
WHERE n.outcome = 'NOT_RESTORED'
ORDER BY n.received_at LIMIT $1;

-- name: read_membership
-- A membership and its receipt, for the operator. $1 membership
SELECT m.id, d.tier, d.year, d.environment, m.sequence_num, m.user_id, m.pass_serial, m.minted_at, m.revoked_at, m.revoked_reason,
       l.state::text AS receipt_state, l.kind AS receipt_kind, l.transaction_id
FROM memberships m JOIN drops d ON d.id = m.drop_id JOIN receipt_ledger l USING (receipt_key)
WHERE m.id = $1;

-- name: ids_of_user
-- $1 user
SELECT id FROM memberships WHERE user_id = $1 ORDER BY id;

-- name: memberships_of_user
-- $1 user. Waits for other work on them.
SELECT id, revoked_at IS NOT NULL AS revoked FROM memberships WHERE user_id = $1 ORDER BY id FOR UPDATE;

-- name: names_of_person
-- Texts that may name the person in the audit log, besides the user id: addresses, devices, keys, network addresses.
-- $1 memberships
SELECT DISTINCT name FROM (
  SELECT unnest(ARRAY[device_id, thumbprint, public_key]) AS name FROM devices WHERE membership_id = ANY ($1::uuid[])
  UNION ALL
  SELECT email FROM contacts WHERE membership_id = ANY ($1::uuid[])
  UNION ALL
  SELECT unnest(ARRAY[old_email, new_email]) FROM email_changes WHERE membership_id = ANY ($1::uuid[])
  UNION ALL
  SELECT unnest(ARRAY[old_device_id, old_thumbprint, new_device_id, new_thumbprint, new_public_key, email, asked_from])
  FROM reforge_requests WHERE membership_id = ANY ($1::uuid[])
) AS names
WHERE name <> '';

-- name: tell_wallet
-- For a membership that was revoked before the erasure: makes wallet void its pass and delete its phones.
-- $1 membership
INSERT INTO membership_events (membership_id, kind) VALUES ($1, 'revoked');

-- name: lock_encounters
-- Waits for encounters that are being recorded; later ones see that the membership is revoked.
LOCK TABLE encounters IN SHARE ROW EXCLUSIVE MODE;

-- name: unlink_encounters
-- Gives encounters random names in place of a device's key, which would link them with each other and with a person. No
-- such token can be recorded again, because its initiator is revoked for good. $1 memberships
UPDATE encounters e
SET signing_key = translate(rtrim(encode(sha256(uuid_send(gen_random_uuid())), 'base64'), '='), '+/', '-_'),
    jti = gen_random_uuid()::text
WHERE e.initiator_id = ANY ($1::uuid[]) AND EXISTS (
  SELECT FROM devices d WHERE d.membership_id = e.initiator_id AND d.thumbprint = e.signing_key);

-- name: forget_proofs
-- Deletes uses of proofs by devices that no other membership has: no such proof counts any more. $1 memberships
DELETE FROM device_proof_uses u WHERE EXISTS (
  SELECT FROM devices d WHERE d.thumbprint = u.thumbprint AND d.membership_id = ANY ($1::uuid[]))
AND NOT EXISTS (
  SELECT FROM devices d WHERE d.thumbprint = u.thumbprint AND d.membership_id <> ALL ($1::uuid[]));

-- name: forget_mail
-- Deletes mail about moves and changes of address of memberships. $1 memberships
DELETE FROM mail_outbox WHERE subject_id IN (
  SELECT id FROM reforge_requests WHERE membership_id = ANY ($1::uuid[])
  UNION ALL SELECT id FROM email_changes WHERE membership_id = ANY ($1::uuid[]));

-- name: forget_moves
-- $1 memberships
DELETE FROM reforge_requests WHERE membership_id = ANY ($1::uuid[]);

-- name: forget_email_changes
-- $1 memberships
DELETE FROM email_changes WHERE membership_id = ANY ($1::uuid[]);

-- name: forget_contacts
-- $1 memberships
DELETE FROM contacts WHERE membership_id = ANY ($1::uuid[]);

-- name: forget_devices
-- $1 memberships
DELETE FROM devices WHERE membership_id = ANY ($1::uuid[]);

-- name: forget_locations
-- Deletes the locations of encounters. The encounters stay, with ids that name nobody. $1 memberships
UPDATE encounters SET latitude_hundredths = NULL, longitude_hundredths = NULL
WHERE (initiator_id = ANY ($1::uuid[]) OR receiver_id = ANY ($1::uuid[])) AND latitude_hundredths IS NOT NULL;

-- name: unname_memberships
-- Gives each membership a random user of its own, so that nothing shows that they had one owner; revoked for good. $1 user
UPDATE memberships SET user_id = 'erased-' || gen_random_uuid(), revoked_reason = 'erased', erased_at = now()
WHERE user_id = $1;

-- name: unname_holds
-- Gives the user's holds random users. Nobody can pay for a live one any more, so its time ends now, and a mint process
-- takes its number back. A payment that waited in line can be refunded at once, because it gets no number. $1 user
WITH unlined AS (
  DELETE FROM late_payments WHERE user_id = $1 RETURNING receipt_key
), refundable AS (
  UPDATE receipt_ledger SET reason = 'ERASED', updated_at = now()
  WHERE receipt_key = ANY (ARRAY(SELECT receipt_key FROM unlined)) AND state = 'FAILED' AND reason = 'HOLD_EXPIRED'
)
UPDATE holds
SET user_id = 'erased-' || gen_random_uuid(),
    expires_at = CASE WHEN state = 'HELD' THEN least(expires_at, now()) ELSE expires_at END
WHERE user_id = $1;

-- name: forget_person_keys
-- Deletes the person keys of memberships or entries, also released ones. $1 memberships or entries
WITH released AS (
  DELETE FROM released_keys WHERE holder = ANY ($1::uuid[])
)
DELETE FROM person_keys WHERE held_by = ANY ($1::uuid[]);

-- name: withdraw_entries
-- Withdraws the user's entries where entries are still open. Locks the rows of all their draws, in order, so no deadlock: a
-- draw that is making offers ends first, and then its holds are seen; a later one reads no user. $1 user
WITH locked AS (
  SELECT d.* FROM draws d
  WHERE d.drop_id = ANY (ARRAY(SELECT drop_id FROM entries WHERE user_id = $1 AND withdrawn_at IS NULL))
  ORDER BY d.drop_id FOR SHARE
), open AS (
  SELECT d.drop_id FROM locked d WHERE {takes_entries}
)
UPDATE entries SET withdrawn_at = now()
WHERE user_id = $1 AND withdrawn_at IS NULL AND drop_id = ANY (ARRAY(SELECT drop_id FROM open));

-- name: unname_entries
-- Without user and salt, nobody can make the leaf from a name. Returns the entries whose keys no longer count. $1 user
UPDATE entries SET user_id = NULL, salt = NULL WHERE user_id = $1 RETURNING id;

-- name: unname_receipts
-- Gives the user's receipts random users. Their keys stay, so that no receipt mints twice and refunds still work. $1 user
WITH unnamed AS (
  UPDATE receipt_ledger SET user_id = 'erased-' || gen_random_uuid(), updated_at = now() WHERE user_id = $1
  RETURNING receipt_key
)
SELECT count(*)::int FROM unnamed;

-- name: redact_audit_log
-- $1 memberships, $2 names of the person
SELECT redact_audit_log($1::text[], $2::text[]);
