-- name: find_secret
-- What a drop's person keys are digested with; no row once it was destroyed. $1 drop
SELECT secret FROM drop_secrets WHERE drop_id = $1;

-- name: release_keys
-- The keys of holds or memberships whose number came back count no longer. A membership may be restored, so a hold that
-- had the key after it does not replace it in last_held_by. $1 holds or memberships
UPDATE person_keys p
SET held_by = NULL,
    last_held_by = CASE
      WHEN EXISTS (SELECT FROM memberships m WHERE m.id = p.last_held_by)
        AND NOT EXISTS (SELECT FROM memberships m WHERE m.id = p.held_by) THEN p.last_held_by
      ELSE p.held_by END
WHERE held_by = ANY ($1::uuid[]);

-- name: find_member
-- A membership's drop and user, and the drop's secret; no row if the drop counts no keys. $1 membership
SELECT m.drop_id, m.user_id, s.secret FROM memberships m JOIN drop_secrets s ON s.drop_id = m.drop_id WHERE m.id = $1;

-- name: lock_member_keys
-- The keys that counted for a membership until its number came back, and its user's key; each locked. Returns whether
-- each counts for another hold or membership now. $1 drop, $2 membership, $3 digest of the user
SELECT coalesce(held_by <> $2, false) AS is_counted FROM person_keys
WHERE drop_id = $1 AND (last_held_by = $2 OR kind = 'user' AND digest = $3)
ORDER BY kind, digest
FOR UPDATE;

-- name: count_member_keys
-- The same keys count for the membership again. The user's key may have been deleted (`vyris limit waive`).
-- $1 to $3 as in lock_member_keys
WITH others AS (
  UPDATE person_keys SET held_by = $2 WHERE drop_id = $1 AND last_held_by = $2 AND held_by IS NULL AND kind <> 'user'
)
INSERT INTO person_keys AS p (drop_id, kind, digest, held_by) VALUES ($1, 'user', $3, $2)
ON CONFLICT (drop_id, kind, digest) DO UPDATE SET held_by = EXCLUDED.held_by WHERE p.held_by IS NULL;

-- name: find_expired_secrets
-- Drops that closed so long ago that nothing need be counted any more. $1 days, $2 at most so many
SELECT s.drop_id FROM drop_secrets s JOIN drops d ON d.id = s.drop_id
WHERE d.closes_at < now() - make_interval(days => $1) ORDER BY s.drop_id LIMIT $2;

-- name: forget_keys
-- A bounded number of a drop's person keys. $1 drop, $2 at most so many
DELETE FROM person_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM person_keys WHERE drop_id = $1 LIMIT $2));

-- name: destroy_secret
-- With it goes every link between the drop's keys and those of any other drop. $1 drop
DELETE FROM drop_secrets WHERE drop_id = $1;
