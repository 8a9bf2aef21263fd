-- migrate:up

-- A change of address that a device asks for is confirmed by a link at the new address before it can take effect, and
-- the old address can undo it for a while afterwards.
ALTER TABLE email_changes
  ADD COLUMN confirm_digest bytea UNIQUE CHECK (octet_length(confirm_digest) = 32),  -- SHA-256 of the new address' token
  ADD COLUMN confirm_until  timestamptz,  -- without a confirmation by then the change lapses
  ADD COLUMN confirmed_at   timestamptz,  -- somebody used the link at the new address
  ADD COLUMN undo_until     timestamptz,  -- until then the old address can undo an applied change
  ADD COLUMN undone_at      timestamptz,  -- it was undone
  ADD CONSTRAINT email_changes_undone_was_applied CHECK (undone_at IS NULL OR applied_at IS NOT NULL);
-- What the limit counts, and what a device lists.
CREATE INDEX email_changes_by_membership ON email_changes (membership_id, created_at);

-- Somebody confirmed something by a link in a mail to this address. Mint writes addresses that nobody has verified.
ALTER TABLE contacts ADD COLUMN verified_at timestamptz;

-- Who refused or undid a move: a refusal by a device binds the mailbox for a while.
ALTER TABLE reforge_requests ADD COLUMN ended_by text CHECK (ended_by IN ('device', 'mailbox'));

-- The outbox sends first what expires first.
CREATE INDEX mail_outbox_by_expiry ON mail_outbox (useless_after) WHERE sent_at IS NULL AND gave_up_at IS NULL;

-- migrate:down

DROP INDEX mail_outbox_by_expiry;
ALTER TABLE reforge_requests DROP COLUMN ended_by;
ALTER TABLE contacts DROP COLUMN verified_at;
DROP INDEX email_changes_by_membership;
ALTER TABLE email_changes
  DROP COLUMN confirm_digest, DROP COLUMN confirm_until, DROP COLUMN confirmed_at,
  DROP COLUMN undo_until, DROP COLUMN undone_at;
