-- name: find_secret
-- The secret that a drop's person keys are digested with; no row once it was destroyed. $1 drop
SELECT secret FROM drop_secrets WHERE drop_id = $1;

-- name: release_keys
-- Keys of holds or memberships whose number came back no longer count. Which they were is kept. $1 holds or memberships
WITH released AS (
  UPDATE person_keys SET held_by = NULL WHERE held_by = ANY ($1::uuid[])
  RETURNING old.held_by AS holder, kind, digest, drop_id
)
INSERT INTO released_keys (holder, kind, digest, drop_id)
SELECT holder, kind, digest, drop_id FROM released ORDER BY holder, kind, digest
ON CONFLICT DO NOTHING;

-- name: find_member
-- A membership's drop and user, and the drop's secret; no row if the drop counts no keys. $1 membership
SELECT m.drop_id, m.user_id, s.secret FROM memberships m JOIN drop_secrets s ON s.drop_id = m.drop_id WHERE m.id = $1;

-- name: lock_member_keys
-- The keys that a membership had until its number came back, and its user's key; each locked. Returns whether each counts
-- for another hold or membership now. $1 drop, $2 membership, $3 digest of the user
WITH own AS (
  SELECT kind, digest FROM released_keys WHERE holder = $2 UNION SELECT 'user', $3::bytea
)
SELECT coalesce(p.held_by <> $2, false) AS is_counted
FROM own JOIN person_keys p ON p.drop_id = $1 AND p.kind = own.kind AND p.digest = own.digest
ORDER BY p.kind, p.digest
FOR UPDATE OF p;

-- name: count_member_keys
-- The same keys count for the membership again, unless they count for something else. $1 to $3 as in lock_member_keys
INSERT INTO person_keys AS p (drop_id, kind, digest, held_by)
SELECT $1, kind, digest, $2 FROM (
  SELECT kind, digest FROM released_keys WHERE holder = $2 UNION SELECT 'user', $3::bytea) AS own
ORDER BY kind, digest
ON CONFLICT (drop_id, kind, digest) DO UPDATE SET held_by = EXCLUDED.held_by WHERE p.held_by IS NULL;

-- name: find_expired_secrets
-- Drops that closed more than $1 days ago: nothing needs to be counted any more. $2 the most rows
SELECT s.drop_id FROM drop_secrets s JOIN drops d ON d.id = s.drop_id
WHERE d.closes_at < now() - make_interval(days => $1) ORDER BY s.drop_id LIMIT $2;

-- name: forget_keys
-- Deletes person keys of a drop. $1 drop, $2 the most rows
DELETE FROM person_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM person_keys WHERE drop_id = $1 LIMIT $2));

-- name: forget_released_keys
-- Deletes released keys of a drop. $1 drop, $2 the most rows
DELETE FROM released_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM released_keys WHERE drop_id = $1 LIMIT $2));

-- name: destroy_secret
-- Without the secret nobody can link keys of this drop with a person. $1 drop
DELETE FROM drop_secrets WHERE drop_id = $1;
