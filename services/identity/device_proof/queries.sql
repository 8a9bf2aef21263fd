-- name: is_proof_fresh
-- Whether a proof is fresh by Postgres' clock. In seconds: $1 when it was made, $2 the highest age, $3 how far ahead
SELECT extract(epoch FROM clock_timestamp()) BETWEEN $1::float8 - $3::float8 AND $1::float8 + $2::float8 AS fresh;

-- name: spend_proof
-- Records a proof's one use, judged by Postgres' clock. 'spent', 'stale' or 'replayed'.
-- Waits for a copy in another open transaction, so that only one commits.
WITH judged AS (
  SELECT $3::float8 BETWEEN extract(epoch FROM clock_timestamp()) - $4::float8
                        AND extract(epoch FROM clock_timestamp()) + $5::float8 AS fresh
), used AS (
  INSERT INTO device_proof_uses (thumbprint, jti, expires_at)
  SELECT $1, $2, to_timestamp($3::float8 + $4::float8) FROM judged WHERE fresh
  ON CONFLICT DO NOTHING
  RETURNING true
)
SELECT CASE WHEN NOT fresh THEN 'stale' WHEN EXISTS (SELECT FROM used) THEN 'spent' ELSE 'replayed' END
FROM judged;

-- name: purge_proofs
-- Deletes uses of proofs that are stale by now, and so cannot be replayed.
DELETE FROM device_proof_uses
WHERE (thumbprint, jti) IN (
  SELECT thumbprint, jti FROM device_proof_uses
  WHERE expires_at < now() - interval '1 minute' ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
);
