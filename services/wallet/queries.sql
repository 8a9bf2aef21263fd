-- part: moved
-- How often a membership (alias `m`) has moved to another device.
CROSS JOIN LATERAL (
  SELECT count(*)::int AS times FROM membership_events e WHERE e.membership_id = m.id AND e.kind = 'moved') AS moved

-- part: or_again
-- A push that waits already is sent once for all changes, and its attempts begin again.
ON CONFLICT (push_token) DO UPDATE
SET version = pass_pushes.version + 1, requested_at = now(), due_at = least(pass_pushes.due_at, now()), attempts = 0

-- name: read_membership
-- What IssuePass needs: the membership, its drop, its active device, and the pass issued since its last move, if any.
-- $1 membership
SELECT m.id, m.user_id, m.revoked_at IS NOT NULL AS revoked, m.minted_at, m.sequence_num, d.tier, d.year, d.environment,
       moved.times AS generation, v.thumbprint, p.serial, p.public_id
FROM memberships m
JOIN drops d ON d.id = m.drop_id
{moved}
LEFT JOIN devices v ON v.membership_id = m.id AND v.retired_at IS NULL
LEFT JOIN passes p ON p.membership_id = m.id AND p.generation = moved.times
WHERE m.id = $1;

-- name: insert_pass
-- The first pass has the serial from the answer to the mint; a membership that moved gets a new serial.
-- $1 membership, $2 generation, $3 public id
INSERT INTO passes (serial, membership_id, generation, public_id)
SELECT CASE WHEN $2 = 0 THEN m.pass_serial ELSE gen_random_uuid() END, m.id, $2, $3
FROM memberships m WHERE m.id = $1
RETURNING serial, public_id;

-- name: read_pass
-- A pass as phones fetch it, voided or not. $1 serial
SELECT p.serial, p.public_id, p.state::text AS state, p.modified_at, m.minted_at, m.sequence_num, d.tier, d.year,
d.environment FROM passes p JOIN memberships m ON m.id = p.membership_id JOIN drops d ON d.id = m.drop_id
WHERE p.serial = $1;

-- name: register_device
-- Returns no row for an unknown serial. The follower later sets the tag of a new registration or a new push token.
-- $1 device library, $2 serial, $3 push token
INSERT INTO pass_registrations AS r (device_library_id, serial, push_token)
SELECT $1, serial, $3 FROM passes WHERE serial = $2
ON CONFLICT (device_library_id, serial) DO UPDATE
SET push_token = EXCLUDED.push_token, registered_at = now(),
    tag = CASE WHEN r.push_token = EXCLUDED.push_token THEN r.tag END
RETURNING xmax = 0 AS created;

-- name: forget_oldest_registrations
-- Limits the devices of one pass: the newest stay. $1 serial, $2 limit
DELETE FROM pass_registrations
WHERE serial = $1 AND device_library_id IN (
  SELECT device_library_id FROM pass_registrations WHERE serial = $1
  ORDER BY registered_at DESC, device_library_id OFFSET $2);

-- name: unregister_device
-- $1 device library, $2 serial
DELETE FROM pass_registrations WHERE device_library_id = $1 AND serial = $2;

-- name: list_updated
-- The device's passes that changed after a tag, or that it registered after the tag and after they had changed. An
-- unknown tag (from a database before a restore) lists all. $1 device library, $2 tag (-1: all), $3 limit
SELECT serial, tag
FROM (
  SELECT p.serial, greatest(p.update_tag, r.tag) AS tag
  FROM pass_registrations r JOIN passes p USING (serial)
  WHERE r.device_library_id = $1
) AS held
WHERE tag > $2 OR $2 > coalesce(pg_sequence_last_value('pass_update_tags'), 0)
ORDER BY tag LIMIT $3;

-- name: take_cursor
-- Returns no row while another process reads. is_foreign: the cursor or an event comes from another cluster.
SELECT transaction::text AS transaction, event_id,
       transaction >= pg_snapshot_xmax(pg_current_snapshot())
       OR EXISTS (SELECT FROM membership_events e WHERE e.transaction >= pg_snapshot_xmax(pg_current_snapshot()))
       AS is_foreign
FROM wallet_cursor FOR UPDATE SKIP LOCKED;

-- name: adopt_events
-- After a dump was loaded into another cluster: all events are read again.
SELECT adopt_membership_events();

-- name: read_events
-- Events of finished transactions beyond the cursor. $1 transaction, $2 event, $3 the most rows
SELECT id, transaction::text AS transaction, membership_id FROM membership_events
WHERE (transaction, id) > ($1::text::xid8, $2) AND transaction < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY transaction, id LIMIT $3;

-- name: refresh_passes
-- Updates passes to the state of their memberships, and enqueues a push for every device with a changed pass.
-- Repeated or reordered calls have the same result. $1 memberships
WITH wanted AS (
  SELECT p.serial,
         CASE WHEN p.generation < moved.times THEN 'MOVED'
              WHEN m.revoked_at IS NOT NULL THEN 'REVOKED'
              ELSE 'ACTIVE' END::pass_state AS state
  FROM passes p
  JOIN memberships m ON m.id = p.membership_id
  {moved}
  WHERE p.membership_id = ANY ($1::uuid[])
), changed AS (
  UPDATE passes p
  SET state = w.state, update_tag = nextval('pass_update_tags'),
      modified_at = greatest(date_trunc('second', now()), p.modified_at + interval '1 second')
  FROM wanted w WHERE w.serial = p.serial AND w.state <> p.state
  RETURNING p.serial, p.state
), enqueued AS (
  INSERT INTO pass_pushes (push_token)
  SELECT DISTINCT r.push_token FROM changed JOIN pass_registrations r USING (serial) ORDER BY r.push_token
  {or_again}
)
SELECT serial, state::text AS state FROM changed;

-- name: limit_registrations
-- Sets when registrations of erased persons' passes are deleted. $1 memberships, $2 seconds until then
UPDATE pass_registrations r SET forget_after = now() + make_interval(secs => $2)
FROM passes p JOIN memberships m ON m.id = p.membership_id
WHERE r.serial = p.serial AND m.id = ANY ($1::uuid[]) AND m.erased_at IS NOT NULL AND r.forget_after IS NULL;

-- name: tag_registrations
-- Gives new registrations their place in the order of updates, and enqueues a push for those whose pass had changed
-- before. Returns how many. $1 the most rows, $2 seconds until the registration of an erased person is deleted
WITH fresh AS (
  SELECT device_library_id, serial FROM pass_registrations WHERE tag IS NULL
  ORDER BY registered_at LIMIT $1 FOR UPDATE SKIP LOCKED
), tagged AS (
  UPDATE pass_registrations r
  SET tag = CASE WHEN p.update_tag > 0 THEN nextval('pass_update_tags') ELSE 0 END,
      forget_after = CASE WHEN m.erased_at IS NOT NULL THEN now() + make_interval(secs => $2) END
  FROM fresh f JOIN passes p USING (serial) JOIN memberships m ON m.id = p.membership_id
  WHERE r.device_library_id = f.device_library_id AND r.serial = f.serial
  RETURNING r.push_token, r.tag
), enqueued AS (
  INSERT INTO pass_pushes (push_token)
  SELECT DISTINCT push_token FROM tagged WHERE tag > 0 ORDER BY push_token
  {or_again}
)
SELECT count(*)::int FROM tagged;

-- name: move_cursor
-- $1 transaction, $2 event
UPDATE wallet_cursor SET transaction = $1::text::xid8, event_id = $2;

-- name: take_pushes
-- Takes pushes that are due, for the length of a lease. $1 the most rows, $2 lease in seconds
WITH due AS (
  SELECT push_token FROM pass_pushes WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE pass_pushes p SET due_at = now() + make_interval(secs => $2), attempts = attempts + 1
FROM due WHERE p.push_token = due.push_token
RETURNING p.push_token, p.version, p.attempts;

-- name: finish_push
-- Deletes a push that was sent, skipped or given up, unless it was enqueued again since. $1 push token, $2 version
DELETE FROM pass_pushes WHERE push_token = $1 AND version = $2;

-- name: postpone_push
-- Postpones a push, unless it was enqueued again since. $1 pause in seconds, $2 push token, $3 version
UPDATE pass_pushes SET due_at = now() + make_interval(secs => $1) WHERE push_token = $2 AND version = $3;

-- name: forget_push_token
-- Deletes the registrations of a device that is gone or removed the pass; later ones with the same token stay.
-- $1 push token, $2 the newest registration to delete (seconds since 1970; NULL: all)
DELETE FROM pass_registrations
WHERE push_token = $1 AND ($2::float8 IS NULL OR registered_at <= to_timestamp($2));

-- name: forget_pushed_tokens
-- Replaces push tokens of erased persons once their push was sent or given up. $1 the most rows
UPDATE pass_registrations r SET push_token = 'erased-' || gen_random_uuid()
FROM (
  SELECT device_library_id, serial FROM pass_registrations o
  WHERE forget_after IS NOT NULL AND tag IS NOT NULL AND push_token NOT LIKE 'erased-%'
    AND NOT EXISTS (SELECT FROM pass_pushes q WHERE q.push_token = o.push_token)
  LIMIT $1 FOR UPDATE SKIP LOCKED
) AS pushed
WHERE r.device_library_id = pushed.device_library_id AND r.serial = pushed.serial;

-- name: forget_registrations
-- Deletes registrations of erased persons after their time, and pushes that still wait for them. $1 the most rows
WITH over AS (
  SELECT device_library_id, serial FROM pass_registrations
  WHERE forget_after < now() ORDER BY forget_after LIMIT $1 FOR UPDATE SKIP LOCKED
), forgotten AS (
  DELETE FROM pass_registrations r USING over o
  WHERE r.device_library_id = o.device_library_id AND r.serial = o.serial
  RETURNING r.push_token
)
DELETE FROM pass_pushes q USING forgotten f
WHERE q.push_token = f.push_token
  AND NOT EXISTS (SELECT FROM pass_registrations r
                  WHERE r.push_token = f.push_token AND coalesce(r.forget_after, 'infinity') >= now());

-- name: count_pushes
-- How many pushes wait, and for how long the oldest has.
SELECT count(*)::int AS waiting, coalesce(extract(epoch FROM now() - min(requested_at)), 0)::float8 AS oldest_s
FROM pass_pushes;
