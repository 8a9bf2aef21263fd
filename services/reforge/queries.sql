-- name: read_membership
-- A membership with its owner, its active device, its address, and whether the address is verified.
SELECT m.id, m.user_id, m.revoked_at IS NOT NULL AS revoked, p.tier, p.year, m.sequence_num,
       d.device_id, d.thumbprint, c.email, c.verified_at IS NOT NULL AS verified
FROM memberships m
JOIN drops p ON p.id = m.drop_id
LEFT JOIN devices d ON d.membership_id = m.id AND d.retired_at IS NULL
LEFT JOIN contacts c ON c.membership_id = m.id
WHERE m.id = $1;

-- name: seconds_limited
-- Seconds until the limits allow a request; NULL if they allow it now. Counted over one hour. Each membership has its
-- own limit. The address' limit counts, and applies to, only memberships that verified the address.
-- $1 membership, $2 address, $3 proven, $4 limit for the membership, $5 limit for the address, $6 the address is
-- verified
SELECT ceil(extract(epoch FROM max(limiting.created_at) + interval '1 hour' - now()))::int AS seconds
FROM (
  (SELECT created_at FROM reforge_requests
   WHERE membership_id = $1 AND proven = $3 AND created_at > now() - interval '1 hour'
   ORDER BY created_at DESC OFFSET $4::int - 1 LIMIT 1)
  UNION ALL
  (SELECT r.created_at FROM reforge_requests r
   JOIN contacts c ON c.membership_id = r.membership_id AND lower(c.email) = lower(r.email)
   WHERE $6::boolean AND c.verified_at IS NOT NULL
     AND lower(r.email) = lower($2) AND r.proven = $3 AND r.created_at > now() - interval '1 hour'
   ORDER BY r.created_at DESC OFFSET $5::int - 1 LIMIT 1)
) AS limiting;

-- name: supersede_pending
-- Supersedes the pending requests of a membership. $1 membership, $2 whether also those with a proof
UPDATE reforge_requests SET state = 'SUPERSEDED', decided_at = now()
WHERE membership_id = $1 AND state = 'PENDING' AND (NOT proven OR $2::boolean);

-- name: insert_request
-- Records a request. Postgres' clock sets its times.
INSERT INTO reforge_requests (
  id, membership_id, proven, old_device_id, old_thumbprint, new_device_id, new_public_key, new_thumbprint,
  email, asked_from, token_digest, undo_digest, code_required, expires_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now() + make_interval(secs => $14));

-- name: find_by_token
-- The request of a link's token; the caller compares the digest again, in constant time.
SELECT id, membership_id, token_digest AS digest FROM reforge_requests WHERE token_digest = $1;

-- name: find_by_undo_token
-- The request of a notice's token.
SELECT id, membership_id, undo_digest AS digest FROM reforge_requests WHERE undo_digest = $1;

-- name: read_request
-- A request with everything that its checks need.
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
-- Counts one more wrong code; at the limit the request is refused for good.
UPDATE reforge_requests
SET code_attempts = code_attempts + 1,
    state = CASE WHEN code_attempts + 1 >= $2::int THEN 'REFUSED'::reforge_state ELSE state END,
    decided_at = CASE WHEN code_attempts + 1 >= $2::int THEN now() END
WHERE id = $1 AND state = 'PENDING';

-- name: retire_device
-- Retires the active device, if there is one.
UPDATE devices SET retired_at = now() WHERE membership_id = $1 AND retired_at IS NULL;

-- name: activate_device
-- Makes a device the active one; the partial unique index refuses a second.
INSERT INTO devices (membership_id, device_id, public_key, thumbprint) VALUES ($1, $2, $3, $4);

-- name: reactivate_device
-- Makes the device that a request retired the active one again.
INSERT INTO devices (membership_id, device_id, public_key, thumbprint)
SELECT membership_id, device_id, public_key, thumbprint FROM devices
WHERE membership_id = $1 AND thumbprint = $2
ORDER BY enrolled_at DESC LIMIT 1;

-- name: mark_confirmed
-- Marks the request as carried out. It can be undone for $2 hours, or for as long as a recent change of address can be
-- undone. Uses the clock, not the start of the transaction, which may have waited for another move: decided_at must
-- give the order of a membership's moves.
UPDATE reforge_requests r
SET state = 'CONFIRMED', decided_at = clock_timestamp(),
    undo_until = greatest(clock_timestamp() + make_interval(hours => $2), (
      SELECT max(c.undo_until) FROM email_changes c
      WHERE c.membership_id = r.membership_id AND c.undone_at IS NULL AND c.undo_until > clock_timestamp()))
WHERE r.id = $1 AND r.state = 'PENDING'
RETURNING r.decided_at, r.undo_until;

-- name: mark_refused
-- Marks the request as refused. $2 by what: device or mailbox
UPDATE reforge_requests SET state = 'REFUSED', decided_at = now(), ended_by = $2 WHERE id = $1 AND state = 'PENDING'
RETURNING id;

-- name: newest_pending
-- The newest request of a membership that can still be confirmed.
SELECT id FROM reforge_requests
WHERE membership_id = $1 AND state = 'PENDING' AND expires_at > clock_timestamp()
ORDER BY created_at DESC LIMIT 1;

-- name: newest_move_from
-- The newest move away from a device; moves that are not undone come first. $1 membership, $2 the device's thumbprint
SELECT id FROM reforge_requests
WHERE membership_id = $1 AND old_thumbprint = $2 AND state IN ('CONFIRMED', 'UNDONE')
ORDER BY state = 'CONFIRMED' DESC, decided_at DESC LIMIT 1;

-- name: first_move_since
-- The first of the moves that are undone together with a change that took effect at $2.
SELECT id, old_thumbprint FROM reforge_requests
WHERE membership_id = $1 AND state = 'CONFIRMED' AND decided_at >= $2
ORDER BY decided_at LIMIT 1;

-- name: list_moves
-- A membership's moves, newest first. $2 limit
SELECT r.id, r.state::text AS state, r.proven, r.old_device_id, r.new_device_id, r.asked_from,
       r.created_at, r.expires_at, r.decided_at, r.undo_until,
       r.expires_at <= clock_timestamp() AS past_expiry, m.revoked_at IS NOT NULL AS revoked
FROM reforge_requests r JOIN memberships m ON m.id = r.membership_id
WHERE r.membership_id = $1 ORDER BY r.created_at DESC LIMIT $2;

-- name: may_list
-- Whether a device is the active one, or was before a move that can still be undone. $2 thumbprint
SELECT EXISTS (SELECT FROM devices WHERE membership_id = $1 AND thumbprint = $2 AND retired_at IS NULL)
    OR EXISTS (SELECT FROM reforge_requests WHERE membership_id = $1 AND old_thumbprint = $2
               AND state = 'CONFIRMED' AND undo_until > clock_timestamp()) AS allowed;

-- name: device_objects_until
-- Until when the mailbox needs the device's proof, because the active device refused or undid a move; NULL if it needs
-- none. An operator's change of address since then ends it. $1 membership, $2 the active device's thumbprint, $3 hours
SELECT max(r.decided_at) + make_interval(hours => $3) AS until FROM reforge_requests r
WHERE r.membership_id = $1 AND r.old_thumbprint = $2 AND r.ended_by = 'device'
  AND (r.state = 'UNDONE' OR NOT r.proven)
  AND r.decided_at > now() - make_interval(hours => $3)
  AND NOT EXISTS (SELECT FROM email_changes c
                  WHERE c.membership_id = r.membership_id AND {recovery} AND c.applied_at > r.decided_at);

-- part: recovery
-- An operator's change of address (alias `c`) that the old mailbox could have refused, and that took effect.
c.asked_by <> 'device' AND c.old_email IS NOT NULL AND c.applied_at IS NOT NULL AND c.effective_at > c.created_at

-- name: is_overruled
-- Whether mailbox and operator together overrule a device: an operator's change of address, which the old mailbox could
-- have refused, took effect after the device was enrolled and less than $4 hours before $3 (NULL: now).
-- $1 membership, $2 the device's thumbprint
SELECT EXISTS (
  SELECT FROM email_changes c
  WHERE c.membership_id = $1 AND {recovery}
    AND c.applied_at > (SELECT min(enrolled_at) FROM devices WHERE membership_id = $1 AND thumbprint = $2)
    AND coalesce($3::timestamptz, now()) < c.applied_at + make_interval(hours => $4)) AS overruled;

-- name: mark_undone
-- Marks a confirmed request and every later move as undone. $2 by what: device or mailbox
UPDATE reforge_requests r SET state = 'UNDONE', decided_at = now(), undo_until = NULL, ended_by = $2
FROM reforge_requests first_undone
WHERE first_undone.id = $1 AND first_undone.state = 'CONFIRMED'
  AND r.membership_id = first_undone.membership_id AND r.state = 'CONFIRMED' AND r.decided_at >= first_undone.decided_at
RETURNING r.id;

-- name: append_moved_event
-- Appends the event that a membership's device changed, for the other services.
INSERT INTO membership_events (membership_id, kind) VALUES ($1, 'moved');

-- name: moves_undoable_until
-- Until when some move of the membership can be undone; NULL if none can.
SELECT max(undo_until) AS until FROM reforge_requests
WHERE membership_id = $1 AND state = 'CONFIRMED' AND undo_until > now();

-- part: open_change
applied_at IS NULL AND refused_at IS NULL

-- name: cancel_open_email_change
-- Cancels an open change of address. $2 cancel only a device's change, never an operator's
UPDATE email_changes SET refused_at = now()
WHERE membership_id = $1 AND {open_change} AND (asked_by = 'device' OR NOT $2::boolean);

-- name: insert_email_change
-- Records an operator's change of address that takes effect $7 hours from now.
INSERT INTO email_changes (id, membership_id, old_email, new_email, refuse_digest, asked_by, effective_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(hours => $7))
RETURNING created_at, effective_at, effective_at <= now() AS due;

-- name: insert_device_change
-- Records a device's change of address. It takes effect $8 hours from now, or later, when no move can be undone any
-- more. The new address must confirm it before that, and has a day at least.
INSERT INTO email_changes (
  id, membership_id, old_email, new_email, refuse_digest, confirm_digest, asked_by, effective_at, confirm_until)
SELECT $1, $2, $3, $4, $5, $6, 'device', times.effective_at, greatest(times.effective_at, now() + interval '1 day')
FROM (SELECT greatest(now() + make_interval(hours => $8), $7) AS effective_at) AS times
RETURNING created_at, effective_at, confirm_until;

-- name: seconds_until_email_change
-- Seconds until the limit allows a device's change of address; NULL if it does now. $1 membership, $2 changes an hour
SELECT ceil(extract(epoch FROM created_at + interval '1 hour' - now()))::int AS seconds FROM email_changes
WHERE membership_id = $1 AND asked_by = 'device' AND created_at > now() - interval '1 hour'
ORDER BY created_at DESC OFFSET $2::int - 1 LIMIT 1;

-- name: has_open_operator_change
-- Whether an operator's change of address is open.
SELECT EXISTS (SELECT FROM email_changes WHERE membership_id = $1 AND asked_by <> 'device' AND {open_change});

-- name: list_email_changes
-- A membership's changes of address, newest first. $2 limit
SELECT id, new_email, asked_by = 'device' AS by_device, created_at, effective_at, confirm_until, confirmed_at,
       applied_at, refused_at, undone_at, CASE WHEN undone_at IS NULL THEN undo_until END AS undo_until
FROM email_changes WHERE membership_id = $1 ORDER BY created_at DESC LIMIT $2;

-- name: due_email_changes
-- Changes of address that are due. $1 limit
SELECT id, membership_id FROM email_changes
WHERE {open_change} AND effective_at <= now() AND (asked_by <> 'device' OR confirmed_at IS NOT NULL)
ORDER BY effective_at LIMIT $1;

-- name: cancel_unconfirmed_email_changes
-- Cancels changes of address that the new address did not confirm in time. $1 limit
UPDATE email_changes SET refused_at = now() WHERE id IN (
  SELECT id FROM email_changes
  WHERE {open_change} AND asked_by = 'device' AND confirmed_at IS NULL
    AND coalesce(confirm_until, effective_at) <= now()
  LIMIT $1 FOR UPDATE SKIP LOCKED
);

-- name: apply_email_change
-- Applies a change of address that is due; links sent to the old address stop working. Runs under the membership's
-- lock, or a concurrent request could send one more. $2 hours for which the old address can undo a device's change
WITH applied AS (
  UPDATE email_changes
  SET applied_at = clock_timestamp(),
      undo_until = CASE WHEN asked_by = 'device' AND old_email IS NOT NULL
                   THEN clock_timestamp() + make_interval(hours => $2) END
  WHERE id = $1 AND {open_change} AND effective_at <= now() AND (asked_by <> 'device' OR confirmed_at IS NOT NULL)
  RETURNING id, membership_id, new_email, asked_by, confirmed_at
), written AS (
  INSERT INTO contacts (membership_id, email, verified_at) SELECT membership_id, new_email, confirmed_at FROM applied
  ON CONFLICT (membership_id) DO UPDATE
  SET email = excluded.email, verified_at = excluded.verified_at, updated_at = now()
), superseded AS (
  UPDATE reforge_requests SET state = 'SUPERSEDED', decided_at = now()
  WHERE membership_id IN (SELECT membership_id FROM applied) AND state = 'PENDING'
), audited AS (
  INSERT INTO audit_log (actor, action, subject, reason)
  SELECT asked_by, 'email.changed', membership_id::text, 'change ' || id::text FROM applied
)
SELECT id FROM applied;

-- name: read_email_change
-- A change of address with everything that its checks need.
SELECT c.id, c.membership_id, c.old_email, c.new_email, c.asked_by = 'device' AS by_device, c.created_at,
       c.effective_at, c.confirm_until, c.confirmed_at, c.applied_at, c.undo_until, c.effective_at <= now() AS due,
       c.applied_at IS NULL AND c.refused_at IS NULL AS open,
       coalesce(c.confirm_until <= clock_timestamp(), true) AS past_confirmation,
       coalesce(c.undo_until > clock_timestamp(), false) AND c.undone_at IS NULL AS can_be_undone,
       p.tier, p.year, m.sequence_num
FROM email_changes c JOIN memberships m ON m.id = c.membership_id JOIN drops p ON p.id = m.drop_id
WHERE c.id = $1;

-- name: find_email_confirmation
-- The change of address of a token that was sent to the new address.
SELECT id, membership_id, confirm_digest AS digest FROM email_changes WHERE confirm_digest = $1;

-- name: confirm_email_change
-- Marks a change as confirmed: the new address works, and its reader wants the change.
UPDATE email_changes SET confirmed_at = now() WHERE id = $1;

-- name: verify_contact
-- Marks the address as verified: its reader confirmed by a link.
UPDATE contacts SET verified_at = now() WHERE membership_id = $1 AND email = $2 AND verified_at IS NULL;

-- name: recent_old_addresses
-- Addresses that a device's change replaced and that can still undo the change.
SELECT id, old_email, undo_until FROM email_changes
WHERE membership_id = $1 AND undone_at IS NULL AND undo_until > clock_timestamp();

-- name: extend_email_undo
-- Lets the old address undo a change for as long as a move that the new address confirmed. $1 membership, $2 until
UPDATE email_changes SET undo_until = greatest(undo_until, $2)
WHERE membership_id = $1 AND undone_at IS NULL AND undo_until > clock_timestamp();

-- name: undo_email_changes
-- Undoes a device's changes of address that took effect at $2 or later, but no operator's. If an operator's change came
-- later, its address stays.
WITH undone AS (
  UPDATE email_changes SET undone_at = clock_timestamp()
  WHERE membership_id = $1 AND asked_by = 'device' AND applied_at >= $2 AND undone_at IS NULL
  RETURNING old_email, applied_at
), first AS (
  SELECT old_email, applied_at FROM undone ORDER BY applied_at LIMIT 1
)
UPDATE contacts k SET email = first.old_email, verified_at = NULL, updated_at = now()
FROM first
WHERE k.membership_id = $1 AND first.old_email IS NOT NULL
  AND NOT EXISTS (SELECT FROM email_changes c
                  WHERE c.membership_id = $1 AND c.asked_by <> 'device' AND c.applied_at >= first.applied_at)
RETURNING k.email;

-- name: find_email_change
-- The change of address of a notice's token.
SELECT id, membership_id, refuse_digest AS digest FROM email_changes WHERE refuse_digest = $1;

-- name: refuse_email_change
-- Refuses an open change: the owner keeps the old address. $1 change
UPDATE email_changes SET refused_at = now() WHERE id = $1 AND {open_change} RETURNING membership_id;

-- name: refuse_device_change
-- A device refuses a device's open change. $1 membership
UPDATE email_changes SET refused_at = now()
WHERE membership_id = $1 AND asked_by = 'device' AND {open_change}
RETURNING id;

-- name: enqueue_mail
-- Writes a mail in the transaction of its cause.
INSERT INTO mail_outbox (id, kind, subject_id, recipient, facts, useless_after)
VALUES ($1, $2, $3, $4, $5::jsonb, $6);

-- name: take_mail
-- Takes mail that is due, for the length of a lease: if the worker dies, another takes it after that. The mail that
-- expires first comes first, so that a link which lives for minutes does not wait behind notices that live for days.
-- `digests` show which key the tokens of the mail's subject are derived from.
UPDATE mail_outbox o
SET attempts = o.attempts + 1, due_at = now() + make_interval(secs => $2)
FROM (
  SELECT id FROM mail_outbox
  WHERE sent_at IS NULL AND gave_up_at IS NULL AND due_at <= now()
  ORDER BY useless_after, due_at LIMIT $1 FOR UPDATE SKIP LOCKED
) AS taken
WHERE o.id = taken.id
RETURNING o.id, o.kind, o.subject_id, o.recipient, o.facts, o.created_at, o.attempts, o.useless_after <= now() AS useless,
  ARRAY(
    SELECT unnest(ARRAY[r.token_digest, r.undo_digest]) FROM reforge_requests r WHERE r.id = o.subject_id
    UNION ALL
    SELECT unnest(ARRAY[c.refuse_digest, c.confirm_digest]) FROM email_changes c WHERE c.id = o.subject_id
  ) AS digests;

-- name: finish_mail
-- Marks a mail that the mail server has accepted. $1 mail
UPDATE mail_outbox SET sent_at = now(), last_failure = NULL WHERE id = $1 AND sent_at IS NULL;

-- name: postpone_mail
-- Postpones a mail after a failure. $1 pause in seconds, $2 mail, $3 why it failed
UPDATE mail_outbox SET last_failure = $3, due_at = now() + make_interval(secs => $1) WHERE id = $2 AND sent_at IS NULL;

-- name: give_mail_up
-- Gives a mail up: it has expired, or the server refuses it for good. $1 mail, $2 why
UPDATE mail_outbox SET gave_up_at = now(), last_failure = $2 WHERE id = $1 AND sent_at IS NULL;

-- name: count_mail
-- How many mails wait, and the age of the oldest in seconds.
SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s
FROM mail_outbox WHERE sent_at IS NULL AND gave_up_at IS NULL;

-- name: purge_mail
-- Deletes mail that is sent or given up.
DELETE FROM mail_outbox WHERE id IN (
  SELECT id FROM mail_outbox
  WHERE (sent_at IS NOT NULL OR gave_up_at IS NOT NULL) AND created_at < now() - make_interval(days => $1)
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
);

-- name: purge_requests
-- Deletes requests after their retention; undo ends days before.
DELETE FROM reforge_requests WHERE id IN (
  SELECT id FROM reforge_requests
  WHERE created_at < now() - make_interval(days => $1) AND coalesce(undo_until, '-infinity') < now()
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
);

-- name: purge_email_changes
-- Deletes closed changes of address that can no longer be undone.
DELETE FROM email_changes WHERE id IN (
  SELECT id FROM email_changes
  WHERE NOT ({open_change}) AND created_at < now() - make_interval(days => $1)
    AND coalesce(undo_until, '-infinity') < now()
  ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED
);
