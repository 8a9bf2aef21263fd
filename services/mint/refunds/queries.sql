-- name: find_notification
-- The outcome of a repeated notification; no row if an earlier version ignored it.
-- $1 kind, $2 issuer, $3 notification
SELECT outcome FROM store_notifications
WHERE kind = $1 AND issuer = $2 AND notification_id = $3 AND outcome <> 'IGNORED';

-- name: record_notification
-- $1 kind, $2 issuer, $3 notification, $4 event, $5 receipt key, $6 transaction id, $7 signed at, $8 outcome
INSERT INTO store_notifications (kind, issuer, notification_id, event, receipt_key, transaction_id, signed_at, outcome)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (kind, issuer, notification_id) DO UPDATE SET outcome = EXCLUDED.outcome
WHERE store_notifications.outcome = 'IGNORED';

-- name: list_ignored
-- Refunds that earlier versions ignored, oldest first. $1 the most rows
SELECT kind, issuer, notification_id, event, receipt_key, transaction_id, signed_at
FROM store_notifications WHERE outcome = 'IGNORED' ORDER BY received_at LIMIT $1;

-- name: find_refund
-- The newest notification about a purchase. $1 key
SELECT refunded, signed_at, notification_id, state_before::text AS state_before, reason_before, revoked_membership_id
FROM receipt_refunds WHERE receipt_key = $1;

-- name: record_refund
-- $1 key, $2 refunded, $3 signed at, $4 notification, $5 state before, $6 reason before, $7 the membership that it revoked
INSERT INTO receipt_refunds
  (receipt_key, refunded, signed_at, notification_id, state_before, reason_before, revoked_membership_id)
VALUES ($1, $2, $3, $4, $5::receipt_state, $6, $7)
ON CONFLICT (receipt_key) DO UPDATE
SET refunded = EXCLUDED.refunded, signed_at = EXCLUDED.signed_at, notification_id = EXCLUDED.notification_id,
    state_before = EXCLUDED.state_before, reason_before = EXCLUDED.reason_before,
    revoked_membership_id = EXCLUDED.revoked_membership_id, updated_at = now();

-- name: enter_refunded
-- A receipt that was refunded before it was sent: the mint's statement finds it by its key.
-- Waits for a mint that enters the same key now, and then returns no row. $1 key, $2 kind, $3 transaction id, $4 reason
INSERT INTO receipt_ledger (receipt_key, state, kind, transaction_id, reason)
VALUES ($1, 'REFUNDED', $2, $3, $4)
ON CONFLICT (receipt_key) DO NOTHING
RETURNING receipt_key;

-- name: lock_receipt
-- Waits for a mint that fulfils the receipt now; then no mint can, until our transaction ends. $1 key
SELECT state::text AS state, reason FROM receipt_ledger WHERE receipt_key = $1 FOR UPDATE;

-- name: end_offer
-- Ends the hold that was made for a late receipt. No row if it has ended, or if another transaction works on it: that
-- one ends it or leaves it to its time. To wait here would be a deadlock with a lapse, which locks the hold first. $1 key
UPDATE holds SET state = 'RELEASED', ended_at = now() WHERE id = (
  SELECT id FROM holds WHERE state = 'HELD' AND receipt_key = $1 FOR UPDATE SKIP LOCKED)
RETURNING id, drop_id, sequence_num;

-- name: set_receipt_state
-- $1 key, $2 state, $3 reason
UPDATE receipt_ledger SET state = $2::receipt_state, reason = $3, updated_at = now() WHERE receipt_key = $1;

-- name: forget_refunded
-- Removes a refunded receipt that was never sent, because its refund was reversed: it may be entered as a new one. $1 key
DELETE FROM receipt_ledger WHERE receipt_key = $1 AND state = 'REFUNDED' AND drop_id IS NULL;

-- name: find_receipt_membership
-- The receipt's membership, and whether its drop sells a freed number again. $1 key
SELECT m.id, m.revoked_at IS NOT NULL AS revoked, d.refund_frees_number
FROM memberships m JOIN drops d ON d.id = m.drop_id WHERE m.receipt_key = $1;

-- name: claim_reconciliation
-- The place where a reconciliation continues; no row if another process reconciled within the interval.
-- $1 environment, $2 the beginning of the first one, $3 interval in seconds
INSERT INTO app_store_reconciliations AS r (environment, notifications_until) VALUES ($1, $2)
ON CONFLICT (environment) DO UPDATE SET updated_at = now()
WHERE r.updated_at <= now() - make_interval(secs => 0.9 * $3::float8)
RETURNING notifications_until, refunds_after;

-- name: note_notifications_read
-- Stores the time up to which every notification was applied. $1 environment, $2 time
UPDATE app_store_reconciliations SET notifications_until = greatest(notifications_until, $2) WHERE environment = $1;

-- name: note_refunds_read
-- $1 environment, $2 key of the last purchase with a refund history that was read; empty: begin again
UPDATE app_store_reconciliations SET refunds_after = $2 WHERE environment = $1;

-- name: list_purchases
-- Purchases that are not refunded as far as we know, by key. $1 kind, $2 environment, $3 after this key, $4 the most rows
SELECT l.receipt_key, l.transaction_id FROM receipt_ledger l JOIN drops d ON d.id = l.drop_id
WHERE l.receipt_key > $3 AND l.kind = $1 AND d.environment = $2 AND l.state IN ('FULFILLED', 'FAILED')
  AND l.transaction_id IS NOT NULL
ORDER BY l.receipt_key LIMIT $4;
