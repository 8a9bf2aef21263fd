-- name: read_membership
-- What decides about a membership: its owner, its active device, its address.
SELECT m.id, m.user_id, m.revoked_at IS NOT NULL AS revoked, p.tier, p.year, m.sequence_num,
       d.device_id, d.thumbprint, c.email
FROM memberships m
JOIN drops p ON p.id = m.drop_id
LEFT JOIN devices d ON d.membership_id = m.id AND d.retired_at IS NULL
LEFT JOIN contacts c ON c.membership_id = m.id
WHERE m.id = $1;

-- name: seconds_limited
-- How long the limits refuse a request, NULL where they do not. Counted over one hour.
-- $1 membership, $2 address, $3 proven, $4 limit for the membership, $5 limit for the address
SELECT ceil(extract(epoch FROM max(limiting.created_at) + interval '1 hour' - now()))::int AS seconds
FROM (
  (SELECT created_at FROM reforge_requests
   WHERE membership_id = $1 AND proven = $3 AND created_at > now() - interval '1 hour'
   ORDER BY created_at DESC OFFSET $4::int - 1 LIMIT 1)
  UNION ALL
  (SELECT created_at FROM reforge_requests
   WHERE lower(email) = lower($2) AND proven = $3 AND created_at > now() - interval '1 hour'
   ORDER BY created_at DESC OFFSET $5::int - 1 LIMIT 1)
) AS limiting;

-- name: supersede_pending
-- A newer request takes the place of the older ones; an unproven one leaves proven ones alone.
UPDATE reforge_requests SET state = 'SUPERSEDED', decided_at = now()
WHERE membership_id = $1 AND state = 'PENDING' AND (NOT proven OR $2::boolean);

-- name: insert_request
-- Records a request. Its times are Postgres'.
INSERT INTO reforge_requests (
  id, membership_id, proven, old_device_id, old_thumbprint, new_device_id, new_public_key, new_thumbprint,
  email, asked_from, token_digest, undo_digest, code_required, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + make_interval(secs => $14))
RETURNING created_at, expires_at;

-- name: find_by_token
-- Which request a link's token names; the caller compares the digest once more.
SELECT id, membership_id, token_digest AS digest FROM reforge_requests WHERE token_digest = $1;

-- name: find_by_undo_token
-- Which request a notice's token names.
SELECT id, membership_id, undo_digest AS digest FROM reforge_requests WHERE undo_digest = $1;

-- name: read_request
-- A request with everything that decides about it, as of now.
SELECT r.id, r.membership_id, r.state::text AS state, r.proven, r.old_device_id, r.old_thumbprint,
       r.new_device_id, r.new_public_key, r.new_thumbprint, r.email, r.asked_from,
       r.code_required, r.code_attempts, r.created_at, r.expires_at, r.decided_at, r.undo_until,
       r.expires_at <= clock_timestamp() AS past_expiry,
       coalesce(r.undo_until > clock_timestamp(), false) AS can_be_undone,
       m.revoked_at IS NOT NULL AS revoked, p.tier, p.year, m.sequence_num,
       d.thumbprint AS active_thumbprint,
       (SELECT l.new_thumbprint FROM reforge_requests l
        WHERE l.membership_id = r.membership_id AND l.state = 'CONFIRMED'
        ORDER BY l.decided_at DESC LIMIT 1) AS moved_to
FROM reforge_requests r
JOIN memberships m ON m.id = r.membership_id
JOIN drops p ON p.id = m.drop_id
LEFT JOIN devices d ON d.membership_id = r.membership_id AND d.retired_at IS NULL
WHERE r.id = $1;

-- name: count_wrong_code
-- One more wrong code; at the limit the request is refused for good.
UPDATE reforge_requests
SET code_attempts = code_attempts + 1,
    state = CASE WHEN code_attempts + 1 >= $2::int THEN 'REFUSED'::reforge_state ELSE state END,
    decided_at = CASE WHEN code_attempts + 1 >= $2::int THEN now() END
WHERE id = $1 AND state = 'PENDING';

-- name: retire_device
-- The active device, if there is one, is active no more.
UPDATE devices SET retired_at = now() WHERE membership_id = $1 AND retired_at IS NULL;

-- name: activate_device
-- A device becomes the active one; the partial unique index refuses a second.
INSERT INTO devices (membership_id, device_id, public_key, thumbprint) VALUES ($1, $2, $3, $4);

-- name: reactivate_device
-- The device that a request had retired becomes the active one again.
INSERT INTO devices (membership_id, device_id, public_key, thumbprint)
SELECT membership_id, device_id, public_key, thumbprint FROM devices
WHERE membership_id = $1 AND thumbprint = $2
ORDER BY enrolled_at DESC LIMIT 1;

-- name: mark_confirmed
-- The request is carried out; $2 hours to take it back. By the clock and not by when the transaction began, which may
-- have waited for another move: a membership's moves are in the order of decided_at.
UPDATE reforge_requests
SET state = 'CONFIRMED', decided_at = clock_timestamp(), undo_until = clock_timestamp() + make_interval(hours => $2)
WHERE id = $1 AND state = 'PENDING'
RETURNING decided_at, undo_until;

-- name: mark_refused
-- The owner said no.
UPDATE reforge_requests SET state = 'REFUSED', decided_at = now() WHERE id = $1 AND state = 'PENDING'
RETURNING id;

-- name: mark_undone
-- A confirmed request was taken back, and with it every move that went on from there.
UPDATE reforge_requests r SET state = 'UNDONE', decided_at = now(), undo_until = NULL
FROM reforge_requests taken_back
WHERE taken_back.id = $1 AND taken_back.state = 'CONFIRMED'
  AND r.membership_id = taken_back.membership_id AND r.state = 'CONFIRMED' AND r.decided_at >= taken_back.decided_at
RETURNING r.id;

-- name: append_moved_event
-- Tells the other services that a membership's device changed.
INSERT INTO membership_events (membership_id, kind) VALUES ($1, 'moved');

-- name: undo_hold
-- Until when a move of the membership can still be undone; NULL where none can.
SELECT max(undo_until) AS until FROM reforge_requests
WHERE membership_id = $1 AND state = 'CONFIRMED' AND undo_until > now();

-- name: postpone_email_change
-- A device's change of address that is on its way waits for another move to become final. $1 membership, $2 not before
UPDATE email_changes SET effective_at = greatest(effective_at, $2)
WHERE membership_id = $1 AND asked_by = 'device' AND applied_at IS NULL AND refused_at IS NULL;

-- name: drop_open_email_change
-- A change of address that is on its way does not arrive.
UPDATE email_changes SET refused_at = now()
WHERE membership_id = $1 AND applied_at IS NULL AND refused_at IS NULL;

-- name: insert_email_change
-- Records a change of address that takes effect at $7 or, where that is NULL, $8 hours from now.
INSERT INTO email_changes (id, membership_id, old_email, new_email, refuse_digest, asked_by, effective_at)
VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, now() + make_interval(hours => $8)))
RETURNING created_at, effective_at, effective_at <= now() AS due;

-- name: due_email_changes
-- Changes of address whose time has come. $1 at most so many
SELECT id, membership_id FROM email_changes
WHERE applied_at IS NULL AND refused_at IS NULL AND effective_at <= now()
ORDER BY effective_at LIMIT $1;

-- name: apply_email_change
-- A change of address whose time has come takes effect; links sent to the old address die. Under the membership's lock:
-- a request that is just being made would send one more.
WITH applied AS (
  UPDATE email_changes SET applied_at = now()
  WHERE id = $1 AND applied_at IS NULL AND refused_at IS NULL AND effective_at <= now()
  RETURNING id, membership_id, new_email, asked_by
), written AS (
  INSERT INTO contacts (membership_id, email) SELECT membership_id, new_email FROM applied
  ON CONFLICT (membership_id) DO UPDATE SET email = excluded.email, updated_at = now()
), superseded AS (
  UPDATE reforge_requests SET state = 'SUPERSEDED', decided_at = now()
  WHERE membership_id IN (SELECT membership_id FROM applied) AND state = 'PENDING'
), audited AS (
  INSERT INTO audit_log (actor, action, subject, reason)
  SELECT asked_by, 'email.changed', membership_id::text, 'change ' || id::text FROM applied
)
SELECT count(*) AS applied FROM applied;

-- name: find_email_change
-- Which change of address a notice's token names, and whether it can still be refused.
SELECT id, membership_id, refuse_digest AS digest, effective_at,
       applied_at IS NULL AND refused_at IS NULL AND effective_at > clock_timestamp() AS open
FROM email_changes WHERE refuse_digest = $1;

-- name: refuse_email_change
-- The owner keeps the old address.
UPDATE email_changes SET refused_at = now()
WHERE id = $1 AND applied_at IS NULL AND refused_at IS NULL AND effective_at > clock_timestamp()
RETURNING membership_id;

-- name: enqueue_mail
-- A mail that is true once the surrounding transaction commits.
INSERT INTO mail_outbox (id, kind, subject_id, recipient, facts, useless_after)
VALUES ($1, $2, $3, $4, $5::jsonb, $6);

-- name: take_mail
-- Takes mail that is due, for the length of a lease: whoever dies with it loses it to the next.
UPDATE mail_outbox o
SET attempts = o.attempts + 1, due_at = now() + make_interval(secs => $2)
FROM (
  SELECT id FROM mail_outbox
  WHERE sent_at IS NULL AND gave_up_at IS NULL AND due_at <= now()
  ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
) AS taken
WHERE o.id = taken.id
RETURNING o.id, o.kind, o.subject_id, o.recipient, o.facts, o.created_at, o.attempts, o.useless_after <= now() AS useless;

-- name: mark_sent
-- The mail server took it.
UPDATE mail_outbox SET sent_at = now(), last_failure = NULL WHERE id = $1 AND sent_at IS NULL;

-- name: mark_failed
-- Try again later: the pause doubles up to a limit, with a little chance in it. $3 and $4 in seconds.
UPDATE mail_outbox
SET last_failure = $2,
    due_at = now() + make_interval(secs => least($3 * 2 ^ least(attempts - 1, 20), $4) * (0.75 + random() / 4))
WHERE id = $1 AND sent_at IS NULL;

-- name: mark_given_up
-- It will never be sent: too late, or the server will not take it from us at all.
UPDATE mail_outbox SET gave_up_at = now(), last_failure = $2 WHERE id = $1 AND sent_at IS NULL;

-- name: count_waiting
-- How much mail waits, and for how long the oldest has.
SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s
FROM mail_outbox WHERE sent_at IS NULL AND gave_up_at IS NULL;

-- name: purge_mail
-- Forgets mail that is done with.
DELETE FROM mail_outbox WHERE id IN (
  SELECT id FROM mail_outbox
  WHERE (sent_at IS NOT NULL OR gave_up_at IS NOT NULL) AND created_at < now() - make_interval(days => $1)
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
);

-- name: purge_requests
-- Forgets requests that nobody asks about any more; undo ends days before.
DELETE FROM reforge_requests WHERE id IN (
  SELECT id FROM reforge_requests
  WHERE created_at < now() - make_interval(days => $1)
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
);

-- name: purge_email_changes
-- Forgets changes of address that took effect or came to nothing; an open one is days old at most.
DELETE FROM email_changes WHERE id IN (
  SELECT id FROM email_changes
  WHERE (applied_at IS NOT NULL OR refused_at IS NOT NULL) AND created_at < now() - make_interval(days => $1)
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
);
