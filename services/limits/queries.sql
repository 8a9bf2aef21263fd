-- name: find_secret
-- The secret that a drop's person keys are digested with; no row once it was destroyed. $1 drop
SELECT secret FROM drop_secrets WHERE drop_id = $1;

-- name: release_keys
-- Keys of holds or memberships whose number came back no longer count. $1 holds or memberships
UPDATE person_keys SET held_by = NULL WHERE held_by = ANY ($1::uuid[]);

-- name: find_member
-- A membership's drop and user, and the drop's secret; no row if the drop counts no keys. $1 membership
SELECT m.drop_id, m.user_id, s.secret FROM memberships m JOIN drop_secrets s ON s.drop_id = m.drop_id WHERE m.id = $1;

-- name: count_key
-- Counts a key for a membership, unless it already counts for another. $1 drop, $2 kind, $3 digest, $4 membership
INSERT INTO person_keys AS p (drop_id, kind, digest, held_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (drop_id, kind, digest) DO UPDATE SET held_by = EXCLUDED.held_by WHERE p.held_by IS NULL;

-- name: find_expired_secrets
-- Drops that closed more than $1 days ago: nothing needs to be counted any more. $2 the most rows
SELECT s.drop_id FROM drop_secrets s JOIN drops d ON d.id = s.drop_id
WHERE d.closes_at < now() - make_interval(days => $1) ORDER BY s.drop_id LIMIT $2;

-- name: forget_keys
-- Deletes person keys of a drop. $1 drop, $2 the most rows
DELETE FROM person_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM person_keys WHERE drop_id = $1 LIMIT $2));

-- name: destroy_secret
-- Without the secret nobody can link keys of this drop with a person. $1 drop
DELETE FROM drop_secrets WHERE drop_id = $1;
