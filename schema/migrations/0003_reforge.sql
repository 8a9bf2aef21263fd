-- migrate:up

-- Device proofs that were used, so that none counts twice. Written by every service
-- that accepts proofs, in the transaction of the call's effect; purged by reforge.
CREATE TABLE device_proof_uses (
  thumbprint text NOT NULL CHECK (length(thumbprint) = 43),
  jti        text NOT NULL CHECK (length(jti) BETWEEN 1 AND 128),
  expires_at timestamptz NOT NULL,   -- from here on the proof is stale anyway
  PRIMARY KEY (thumbprint, jti)
);
CREATE INDEX device_proof_uses_expiry ON device_proof_uses (expires_at);

CREATE TYPE reforge_state AS ENUM (
  'PENDING',     -- asked for; nothing has changed yet (past expires_at it never will)
  'CONFIRMED',   -- the new device holds the membership; until undo_until that can be undone
  'SUPERSEDED',  -- a newer request, another one's confirmation, or a change of address took its place
  'REFUSED',     -- the owner said no, or somebody guessed at its code
  'UNDONE'       -- confirmed, then undone
);

-- A request to move a membership to a new device.
CREATE TABLE reforge_requests (
  id             uuid PRIMARY KEY,
  membership_id  uuid NOT NULL REFERENCES memberships,
  state          reforge_state NOT NULL DEFAULT 'PENDING',
  proven         boolean NOT NULL,       -- asked for with a proof by the old device
  old_device_id  text,                   -- the active device when it was asked for; NULL where there was none
  old_thumbprint text,
  new_device_id  text NOT NULL,
  new_public_key text NOT NULL,          -- canonical JWK
  new_thumbprint text NOT NULL CHECK (length(new_thumbprint) = 43),
  email          text NOT NULL,          -- where the link was sent
  asked_from     text NOT NULL,          -- network address, from the gateway
  token_digest   bytea NOT NULL UNIQUE CHECK (octet_length(token_digest) = 32),  -- SHA-256 of the link's token
  undo_digest    bytea NOT NULL UNIQUE CHECK (octet_length(undo_digest) = 32),   -- SHA-256 of the notice's token
  code_required  boolean NOT NULL,
  code_attempts  smallint NOT NULL DEFAULT 0,
  created_at     timestamptz NOT NULL DEFAULT now(),
  expires_at     timestamptz NOT NULL,
  decided_at     timestamptz,
  undo_until     timestamptz,
  CHECK ((old_device_id IS NULL) = (old_thumbprint IS NULL)),
  CHECK ((state = 'PENDING') = (decided_at IS NULL)),
  CHECK (proven <= (old_device_id IS NOT NULL))
);
-- A newer request supersedes the older of its kind: an unproven one never a proven one.
CREATE UNIQUE INDEX reforge_requests_one_pending ON reforge_requests (membership_id, proven) WHERE state = 'PENDING';
-- By age, to be forgotten.
CREATE INDEX reforge_requests_age ON reforge_requests (created_at);
-- What the limits count.
CREATE INDEX reforge_requests_by_membership ON reforge_requests (membership_id, created_at);
CREATE INDEX reforge_requests_by_email ON reforge_requests (lower(email), created_at);

-- A change of where the owner can be reached that has not taken effect yet, or has.
CREATE TABLE email_changes (
  id            uuid PRIMARY KEY,
  membership_id uuid NOT NULL REFERENCES memberships,
  old_email     text,
  new_email     text NOT NULL CHECK (length(new_email) <= 254),
  refuse_digest bytea NOT NULL UNIQUE CHECK (octet_length(refuse_digest) = 32),  -- SHA-256 of the notice's token
  asked_by      text NOT NULL,           -- device, or the operator's name
  created_at    timestamptz NOT NULL DEFAULT now(),
  effective_at  timestamptz NOT NULL,
  applied_at    timestamptz,
  refused_at    timestamptz,
  CHECK (applied_at IS NULL OR refused_at IS NULL)
);
-- At most one change of a membership is on its way.
CREATE UNIQUE INDEX email_changes_one_open ON email_changes (membership_id)
  WHERE applied_at IS NULL AND refused_at IS NULL;

-- Mail that is to be sent, written in the transaction that makes it true; holds no token.
CREATE TABLE mail_outbox (
  id            uuid PRIMARY KEY,        -- also the Message-ID, however often it is sent
  kind          text NOT NULL,           -- which template
  subject_id    uuid NOT NULL,           -- the request or change that it is about; tokens are derived from it
  recipient     text NOT NULL,
  facts         jsonb NOT NULL,          -- what the template says
  created_at    timestamptz NOT NULL DEFAULT now(),
  useless_after timestamptz NOT NULL,    -- nobody needs it any more
  due_at        timestamptz NOT NULL DEFAULT now(),
  attempts      integer NOT NULL DEFAULT 0,
  sent_at       timestamptz,
  gave_up_at    timestamptz,
  last_failure  text,                    -- a word or an SMTP code, never the server's text
  CHECK (sent_at IS NULL OR gave_up_at IS NULL)
);
CREATE INDEX mail_outbox_waiting ON mail_outbox (due_at) WHERE sent_at IS NULL AND gave_up_at IS NULL;
CREATE INDEX mail_outbox_finished ON mail_outbox (created_at) WHERE sent_at IS NOT NULL OR gave_up_at IS NOT NULL;

-- migrate:down

DROP TABLE mail_outbox, email_changes, reforge_requests, device_proof_uses;
DROP TYPE reforge_state;
