-- migrate:up

CREATE TYPE pass_state AS ENUM (
  'ACTIVE',   -- shows a live membership -> REVOKED, MOVED
  'REVOKED',  -- voided, as the membership was revoked -> ACTIVE when that is reversed, MOVED
  'MOVED'     -- voided for ever: the membership moved to another device, whose pass has another serial
);

-- A pass, for ever: neither its serial nor its token may change in an update.
CREATE TABLE passes (
  serial        uuid PRIMARY KEY,
  membership_id uuid NOT NULL REFERENCES memberships,
  generation    integer NOT NULL CHECK (generation >= 0),  -- how often the membership had moved when it was issued
  public_id     text NOT NULL UNIQUE CHECK (length(public_id) = 22),  -- random; what the QR code says
  state         pass_state NOT NULL DEFAULT 'ACTIVE',
  -- Place in the order of updates; 0 before the first. Given by the one process that holds wallet_cursor's row,
  -- so that a greater tag is never visible before a smaller one.
  update_tag    bigint NOT NULL DEFAULT 0,
  issued_at     timestamptz NOT NULL DEFAULT now(),
  -- HTTP has times in whole seconds, so two updates are always a second apart.
  modified_at   timestamptz NOT NULL DEFAULT date_trunc('second', now()),
  UNIQUE (membership_id, generation)
);
CREATE SEQUENCE pass_update_tags;

-- Which devices hold which pass, and where each can be reached.
CREATE TABLE pass_registrations (
  device_library_id text NOT NULL CHECK (length(device_library_id) BETWEEN 1 AND 128),
  serial            uuid NOT NULL REFERENCES passes,
  push_token        text NOT NULL CHECK (length(push_token) BETWEEN 1 AND 256),
  registered_at     timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (device_library_id, serial)
);
CREATE INDEX pass_registrations_by_serial ON pass_registrations (serial);
CREATE INDEX pass_registrations_by_token ON pass_registrations (push_token);

-- Pushes that are due, written with the update that they announce. One for a device, even if several of
-- its passes changed: a push only says "ask".
CREATE TABLE pass_pushes (
  push_token   text PRIMARY KEY,
  version      bigint NOT NULL DEFAULT 1,   -- grows when a push becomes due again while one is in flight
  requested_at timestamptz NOT NULL DEFAULT now(),
  due_at       timestamptz NOT NULL DEFAULT now(),
  attempts     integer NOT NULL DEFAULT 0
);
CREATE INDEX pass_pushes_due ON pass_pushes (due_at);

-- How far wallet has read membership_events. One row; the process that has its lock is the reader.
CREATE TABLE wallet_cursor (
  only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  transaction xid8 NOT NULL,
  event_id    bigint NOT NULL
);
INSERT INTO wallet_cursor (transaction, event_id) VALUES ('0', 0);

-- How often a membership has moved is asked for every pass.
CREATE INDEX membership_events_moved ON membership_events (membership_id) WHERE kind = 'moved';

-- migrate:down

DROP INDEX membership_events_moved;
DROP TABLE wallet_cursor, pass_pushes, pass_registrations, passes;
DROP SEQUENCE pass_update_tags;
DROP TYPE pass_state;
