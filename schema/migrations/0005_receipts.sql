-- migrate:up

-- Whether a revoked membership's number went back on sale. Only a number that is still
-- the membership's own, or that can be taken out of the slots again, is ever restored.
ALTER TABLE memberships ADD COLUMN number_freed boolean NOT NULL DEFAULT false;

-- A refund that arrives before its receipt is entered as REFUNDED: the mint meets it by the key.
-- Such a row knows neither drop nor user; the code of the version before never reads them from it.
ALTER TABLE receipt_ledger ALTER COLUMN drop_id DROP NOT NULL, ALTER COLUMN user_id DROP NOT NULL;

-- Every refund, revocation and reversal by a store or merchant, once, with its outcome.
CREATE TABLE store_notifications (
  kind            text NOT NULL,         -- app-store, merchant
  issuer          text NOT NULL,         -- the App Store's environment, or the merchant's name
  notification_id text NOT NULL,         -- the sender's own id: a retry carries the same
  event           text NOT NULL CHECK (event IN ('REFUND', 'REVOKE', 'REFUND_REVERSED')),
  receipt_key     bytea NOT NULL CHECK (octet_length(receipt_key) = 32),
  transaction_id  text NOT NULL,         -- the purchase's id at its store, for support
  signed_at       timestamptz NOT NULL,  -- by the sender's clock: orders the notifications of one purchase
  received_at     timestamptz NOT NULL DEFAULT now(),
  outcome         text NOT NULL CHECK (outcome IN (
    'REVOKED',       -- the membership was revoked
    'REMEMBERED',    -- there was no membership: the receipt will never mint
    'RESTORED',      -- the refund was reversed, and its effect was undone
    'NOT_RESTORED',  -- the refund was reversed, but the number has a new owner or left the drop: for the operator
    'UNCHANGED',     -- it changed nothing
    'SUPERSEDED',    -- a newer notification came first
    'IGNORED'        -- of a product that no drop sells, and of no known receipt
  )),
  PRIMARY KEY (kind, issuer, notification_id)
);
CREATE INDEX store_notifications_not_restored ON store_notifications (received_at) WHERE outcome = 'NOT_RESTORED';

-- Each purchase with a notification: the newest one, and the state that it replaced.
CREATE TABLE receipt_refunds (
  receipt_key           bytea PRIMARY KEY CHECK (octet_length(receipt_key) = 32),
  refunded              boolean NOT NULL,
  signed_at             timestamptz NOT NULL,  -- of the newest notification; ties go to the greater notification id
  notification_id       text NOT NULL,
  -- What a reversal restores: the state that the receipt had (NULL: it was not entered), and its reason.
  state_before          receipt_state,
  reason_before         text,
  -- The membership that this refund revoked; NULL where there was none, or somebody else had revoked it.
  revoked_membership_id uuid REFERENCES memberships,
  updated_at            timestamptz NOT NULL DEFAULT now()
);

-- migrate:down

DROP TABLE receipt_refunds, store_notifications;
DELETE FROM receipt_ledger WHERE drop_id IS NULL OR user_id IS NULL;
ALTER TABLE receipt_ledger ALTER COLUMN drop_id SET NOT NULL, ALTER COLUMN user_id SET NOT NULL;
ALTER TABLE memberships DROP COLUMN number_freed;
