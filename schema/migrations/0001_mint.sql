-- migrate:up

-- A drop: so many numbered memberships of one tier and year.
CREATE TABLE drops (
  id                  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tier                text NOT NULL CHECK (tier ~ '^[a-z0-9-]{1,32}$'),
  year                text NOT NULL CHECK (year ~ '^2(0[0-9][0-9]|100)$'),
  -- Purchases made in a store's sandbox mint from a supply of their own.
  environment         text NOT NULL DEFAULT 'production' CHECK (environment IN ('production', 'sandbox')),
  capacity            integer NOT NULL CHECK (capacity BETWEEN 0 AND 10000000),
  opens_at            timestamptz,
  closes_at           timestamptz,
  -- Whether the number of a refunded membership is sold again.
  refund_frees_number boolean NOT NULL DEFAULT false,
  created_at          timestamptz NOT NULL DEFAULT now(),
  UNIQUE (tier, year, environment),
  CHECK (opens_at < closes_at)
);

-- The numbers of a drop that nobody holds yet: a claim deletes its row. Rows are
-- written in sort_order, so that a batch of claims touches neighbours on a page.
CREATE TABLE slots (
  -- No foreign key: it would be checked a million times while a drop is created, in the transaction that created it.
  drop_id      integer NOT NULL,
  sort_order   bigint NOT NULL,   -- random, from a cryptographic source
  sequence_num integer NOT NULL CHECK (sequence_num > 0),
  PRIMARY KEY (drop_id, sort_order),
  UNIQUE (drop_id, sequence_num)
) WITH (
  -- Dead entries at the low end are what a claim has to step over.
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);

-- How many numbers of a drop are taken, as a sum over writers: a count that is exact
-- in every snapshot, needs no scan, and has no row that all processes must lock.
CREATE TABLE drop_tallies (
  drop_id integer NOT NULL REFERENCES drops,
  writer  smallint NOT NULL CHECK (writer BETWEEN 0 AND 15),
  taken   integer NOT NULL DEFAULT 0,
  PRIMARY KEY (drop_id, writer)
) WITH (fillfactor = 20);

CREATE TYPE receipt_state AS ENUM (
  'PENDING',     -- entered; some process is at work on it, or was
  'FULFILLED',   -- it became a membership
  'FAILED',      -- it got none (see reason); sent again it may still get one
  'REFUND_DUE',  -- exported to be refunded; never mints
  'REFUNDED'     -- the money went back; never mints
);

-- Every receipt that passed verification for a known drop, exactly once.
-- Only created_at and the key are indexed, so that a change of state is a HOT update.
CREATE TABLE receipt_ledger (
  receipt_key    bytea PRIMARY KEY CHECK (octet_length(receipt_key) = 32),
  state          receipt_state NOT NULL,
  drop_id        integer NOT NULL REFERENCES drops,
  user_id        text NOT NULL,
  kind           text NOT NULL,        -- app-store, merchant, opaque
  transaction_id text,                 -- the purchase's id at its store, for support and refunds
  reason         text,                 -- why there is no membership
  created_at     timestamptz NOT NULL DEFAULT now(),
  updated_at     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 60);
CREATE INDEX receipt_ledger_created_at ON receipt_ledger USING brin (created_at) WITH (pages_per_range = 16);

CREATE TABLE memberships (
  id             uuid PRIMARY KEY,
  drop_id        integer NOT NULL REFERENCES drops,
  sequence_num   integer NOT NULL CHECK (sequence_num > 0),
  user_id        text NOT NULL,
  receipt_key    bytea NOT NULL UNIQUE,   -- one receipt, at most one membership
  pass_serial    uuid NOT NULL UNIQUE,
  minted_at      timestamptz NOT NULL DEFAULT now(),
  revoked_at     timestamptz,
  revoked_reason text
);
-- One number, at most one live membership.
CREATE UNIQUE INDEX memberships_live_number ON memberships (drop_id, sequence_num) WHERE revoked_at IS NULL;

-- What other services must react to; append-only, each reads at a cursor of its own.
-- A reader takes rows of finished transactions only, in the order (transaction, id):
-- WHERE (transaction, id) > (cursor) AND transaction < pg_snapshot_xmin(pg_current_snapshot()).
CREATE TABLE membership_events (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  transaction   xid8 NOT NULL DEFAULT pg_current_xact_id(),
  membership_id uuid NOT NULL REFERENCES memberships,
  kind          text NOT NULL CHECK (kind IN ('revoked', 'restored', 'moved')),
  happened_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX membership_events_in_order ON membership_events (transaction, id);

-- Which device key speaks for a membership. Written by reforge; mint inserts at mint.
CREATE TABLE devices (
  membership_id uuid NOT NULL REFERENCES memberships,
  device_id     text NOT NULL,
  public_key    text NOT NULL,          -- canonical JWK of a P-256 public key
  thumbprint    text NOT NULL CHECK (length(thumbprint) = 43),  -- RFC 7638, base64url of SHA-256
  enrolled_at   timestamptz NOT NULL DEFAULT now(),
  retired_at    timestamptz
);
CREATE UNIQUE INDEX devices_one_active ON devices (membership_id) WHERE retired_at IS NULL;
CREATE INDEX devices_history ON devices (membership_id, enrolled_at);

-- Where the owner can be reached. Written by reforge; mint inserts at mint.
CREATE TABLE contacts (
  membership_id uuid PRIMARY KEY REFERENCES memberships,
  email         text NOT NULL CHECK (length(email) <= 254),
  updated_at    timestamptz NOT NULL DEFAULT now()
);

-- Who did what, to what, why. Append-only.
CREATE TABLE audit_log (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  happened_at timestamptz NOT NULL DEFAULT now(),
  actor       text NOT NULL,
  action      text NOT NULL,
  subject     text NOT NULL,
  reason      text NOT NULL,
  details     jsonb NOT NULL DEFAULT '{}'
);

-- migrate:down

DROP TABLE audit_log, contacts, devices, membership_events, memberships, receipt_ledger, drop_tallies, slots, drops;
DROP TYPE receipt_state;
