-- name: record_encounters
-- Decides and records a batch in one statement, and so in one transaction. It reads both memberships in its own
-- snapshot, so a revocation that was committed before counts. The unique key (jti, signing_key) decides which of
-- several copies is first, across all processes: the statement waits for a copy in an open transaction.
-- It inserts in the order of that key; otherwise two processes with the same tokens could deadlock.
-- outcome: recorded, stale or unknown. A token without a row in the result was replayed.
-- $1 ids, $2 signing keys, $3 jtis, $4 initiators, $5 receivers, $6 issued at, $7 valid from, $8 valid to
-- (seconds since 1970), $9 and $10 latitudes and longitudes (hundredths of a degree), $11 leeway in seconds
WITH asked AS (
  SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[],
                       $6::float8[], $7::float8[], $8::float8[], $9::smallint[], $10::smallint[])
    AS asked (id, signing_key, jti, initiator_id, receiver_id, issued_at_s, begins_s, ends_s, latitude, longitude)
), judged AS (
  SELECT asked.*,
         extract(epoch FROM now()) BETWEEN begins_s - $11::float8 AND ends_s AS fresh,
         EXISTS (SELECT FROM memberships m WHERE m.id = initiator_id AND m.revoked_at IS NULL)
         AND EXISTS (SELECT FROM memberships m WHERE m.id = receiver_id AND m.revoked_at IS NULL) AS known
  FROM asked
), recorded AS (
  INSERT INTO encounters (id, initiator_id, receiver_id, signing_key, jti, encountered_at,
                          latitude_hundredths, longitude_hundredths)
  SELECT id, initiator_id, receiver_id, signing_key, jti, to_timestamp(issued_at_s), latitude, longitude
  FROM judged
  WHERE fresh AND known
  ORDER BY jti COLLATE "C", signing_key COLLATE "C"
  ON CONFLICT (jti, signing_key) DO NOTHING
  RETURNING id, encountered_at, verified_at
)
SELECT id, encountered_at, verified_at, 'recorded' AS outcome FROM recorded
UNION ALL
SELECT id, NULL, NULL, CASE WHEN fresh THEN 'unknown' ELSE 'stale' END FROM judged WHERE NOT (fresh AND known);

-- name: find_signers
-- The keys for a token that a device signed: the initiator's key, if it is active and has this thumbprint, and the
-- thumbprint of the receiver's active key. $1 initiator, $2 thumbprint, $3 receiver
SELECT i.public_key AS initiator_key, r.thumbprint AS receiver_thumbprint
FROM devices i JOIN devices r ON r.membership_id = $3 AND r.retired_at IS NULL
WHERE i.membership_id = $1 AND i.thumbprint = $2 AND i.retired_at IS NULL;

-- name: find_membership
-- Whether a membership is revoked, and the thumbprint of its active device's key. $1 membership
SELECT m.revoked_at IS NOT NULL AS revoked, d.thumbprint
FROM memberships m LEFT JOIN devices d ON d.membership_id = m.id AND d.retired_at IS NULL
WHERE m.id = $1;

-- name: list_encounters
-- A page of a membership's encounters from either side, newest first: two index ranges, merged.
-- $1 membership, $2 and $3 verified_at and id of the last one on the previous page (NULL for the first page), $4 limit
SELECT * FROM (
  (SELECT id, initiator_id, receiver_id, encountered_at, verified_at FROM encounters
   WHERE initiator_id = $1
     AND (verified_at, id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid,
     'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   ORDER BY verified_at DESC, id DESC LIMIT $4)
  UNION ALL
  (SELECT id, initiator_id, receiver_id, encountered_at, verified_at FROM encounters
   WHERE receiver_id = $1
     AND (verified_at, id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid,
     'ffffffff-ffff-ffff-ffff-ffffffffffff'))
   ORDER BY verified_at DESC, id DESC LIMIT $4)
) AS sides
ORDER BY verified_at DESC, id DESC LIMIT $4;

-- name: forget_locations
-- Deletes the location of encounters older than $1 days, at most $2 of them, oldest first.
WITH old AS (
  SELECT jti, signing_key FROM encounters
  WHERE latitude_hundredths IS NOT NULL AND verified_at < now() - make_interval(days => $1)
  ORDER BY verified_at LIMIT $2
  FOR UPDATE SKIP LOCKED
)
UPDATE encounters e SET latitude_hundredths = NULL, longitude_hundredths = NULL
FROM old WHERE e.jti = old.jti AND e.signing_key = old.signing_key
RETURNING e.id;
