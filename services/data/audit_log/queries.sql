-- name: append
-- $1 actor, $2 action, $3 subject, $4 reason, $5 details (JSON text)
INSERT INTO audit_log (actor, action, subject, reason, details) VALUES ($1, $2, $3, $4, $5::jsonb);
