-- name: ids_of_user
-- $1 user
SELECT id FROM memberships WHERE user_id = $1 ORDER BY id;

-- name: memberships_of_user
-- $1 user. Waits for other work on them.
SELECT id, revoked_at IS NOT NULL AS revoked FROM memberships WHERE user_id = $1 ORDER BY id FOR UPDATE;

-- name: names_of_person
-- What may name the person in the audit log, beside the user id: addresses, devices, keys, network addresses.
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
-- A membership that was revoked before the erasure: its pass is looked at once more, its phones are forgotten.
-- $1 membership
INSERT INTO membership_events (membership_id, kind) VALUES ($1, 'revoked');

-- name: lock_encounters
-- An encounter that is just being recorded is waited for; the next one sees that the membership is revoked.
LOCK TABLE encounters IN SHARE ROW EXCLUSIVE MODE;

-- name: unlink_encounters
-- The key of a member's device led from one encounter to all others of that device, and to the person who has it. Each
-- gets a random name instead. None can be recorded again: its initiator is revoked for good. $1 memberships
UPDATE encounters e
SET signing_key = translate(rtrim(encode(sha256(uuid_send(gen_random_uuid())), 'base64'), '='), '+/', '-_'),
    jti = gen_random_uuid()::text
WHERE e.initiator_id = ANY ($1::uuid[]) AND EXISTS (
  SELECT FROM devices d WHERE d.membership_id = e.initiator_id AND d.thumbprint = e.signing_key);

-- name: forget_proofs
-- Proofs of devices that no other membership has: no such proof counts any more. $1 memberships
DELETE FROM device_proof_uses u WHERE EXISTS (
  SELECT FROM devices d WHERE d.thumbprint = u.thumbprint AND d.membership_id = ANY ($1::uuid[]))
AND NOT EXISTS (
  SELECT FROM devices d WHERE d.thumbprint = u.thumbprint AND d.membership_id <> ALL ($1::uuid[]));

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

-- name: forget_locations
-- Where the members met; that they met stays, by ids that name nobody any more. $1 memberships
UPDATE encounters SET latitude_hundredths = NULL, longitude_hundredths = NULL
WHERE (initiator_id = ANY ($1::uuid[]) OR receiver_id = ANY ($1::uuid[])) AND latitude_hundredths IS NOT NULL;

-- name: unname_memberships
-- Each under a name of its own, so that they are not one person's any more, and revoked for good. $1 user
UPDATE memberships SET user_id = 'erased-' || gen_random_uuid(), revoked_reason = 'erased', erased_at = now()
WHERE user_id = $1;

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

-- name: redact_audit_log
-- $1 memberships, $2 names of the person
SELECT redact_audit_log($1::text[], $2::text[]);
