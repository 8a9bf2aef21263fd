-- The baseline's own schema, in a database of its own on the Postgres that the suite uses.
CREATE TABLE drops (
  id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tier     text NOT NULL,
  year     text NOT NULL,
  capacity integer NOT NULL,
  UNIQUE (tier, year)
);

CREATE TABLE slots (
  drop_id       integer NOT NULL REFERENCES drops,
  sequence_num  integer NOT NULL,
  sort_order    bigint NOT NULL,   -- random: the order of claims reveals nothing about the numbers
  membership_id uuid,
  PRIMARY KEY (drop_id, sequence_num)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX slots_unclaimed ON slots (drop_id, sort_order) WHERE membership_id IS NULL;

CREATE TABLE memberships (
  id           uuid PRIMARY KEY,
  drop_id      integer NOT NULL REFERENCES drops,
  sequence_num integer NOT NULL,
  user_id      text NOT NULL,
  pass_serial  uuid NOT NULL,
  minted_at    timestamptz NOT NULL DEFAULT now(),
  revoked_at   timestamptz,
  UNIQUE (drop_id, sequence_num)
);

CREATE TABLE receipt_ledger (
  receipt_hash  bytea PRIMARY KEY,
  state         text NOT NULL CHECK (state IN ('PENDING', 'FULFILLED', 'FAILED')),
  user_id       text NOT NULL,
  membership_id uuid REFERENCES memberships,
  reason        text,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 60);

CREATE TABLE encounters (
  id             uuid PRIMARY KEY,
  jti            text NOT NULL UNIQUE,
  initiator_id   uuid NOT NULL REFERENCES memberships,
  receiver_id    uuid NOT NULL REFERENCES memberships,
  encountered_at timestamptz NOT NULL,
  verified_at    timestamptz NOT NULL DEFAULT now()
);
