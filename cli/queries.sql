-- name: memberships_of_user
-- $1 user. Waits for whoever works on them.
SELECT id, revoked_at IS NOT NULL AS revoked FROM memberships WHERE user_id = $1 ORDER BY id FOR UPDATE;

-- name: forget_mail
-- Mail about moves and changes of address of memberships. $1 memberships
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

-- name: forget_pushes
-- $1 memberships
DELETE FROM pass_pushes WHERE push_token IN (
  SELECT r.push_token FROM pass_registrations r JOIN passes p USING (serial) WHERE p.membership_id = ANY ($1::uuid[]));

-- name: forget_registrations
-- $1 memberships
DELETE FROM pass_registrations WHERE serial IN (SELECT serial FROM passes WHERE membership_id = ANY ($1::uuid[]));

-- name: forget_locations
-- Where the members met; that they met stays, by ids that name nobody any more. $1 memberships
UPDATE encounters SET latitude_hundredths = NULL, longitude_hundredths = NULL
WHERE (initiator_id = ANY ($1::uuid[]) OR receiver_id = ANY ($1::uuid[])) AND latitude_hundredths IS NOT NULL;

-- name: unname_memberships
-- Each under a name of its own, so that they are not one person's any more, and revoked for good. $1 user
UPDATE memberships SET user_id = 'erased-' || gen_random_uuid(), revoked_reason = 'erased' WHERE user_id = $1;

-- name: unname_holds
-- Ended holds and places in line belong to nobody any more; a live one lapses by itself. $1 user
WITH unlined AS (
  DELETE FROM late_payments WHERE user_id = $1
)
UPDATE holds SET user_id = 'erased-' || gen_random_uuid() WHERE user_id = $1;

-- name: forget_person_keys
-- What was counted for the person. $1 memberships
DELETE FROM person_keys WHERE held_by = ANY ($1::uuid[]);

-- name: unname_receipts
-- The keys stay: no receipt ever mints twice, and what is owed is still paid back. $1 user
WITH unnamed AS (
  UPDATE receipt_ledger SET user_id = 'erased-' || gen_random_uuid(), updated_at = now() WHERE user_id = $1
  RETURNING receipt_key
)
SELECT count(*)::int FROM unnamed;
