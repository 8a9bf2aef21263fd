-- migrate:up

-- A draw's terms and state. The terms are announced with the drop and never change.
CREATE TABLE draws (
  drop_id       integer PRIMARY KEY REFERENCES drops,
  terms         text NOT NULL,             -- the exact text that is hashed
  terms_hash    bytea NOT NULL CHECK (octet_length(terms_hash) = 32),
  -- Copied from the terms, for statements.
  entries_open  timestamptz NOT NULL,
  entries_close timestamptz NOT NULL,
  challenge_s   integer NOT NULL CHECK (challenge_s BETWEEN 0 AND 604800),
  chain_hash    bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
  -- After this time no transaction adds or withdraws an entry, even if it began earlier.
  closed_at     timestamptz,
  entries       integer,
  withdrawn     integer,
  root          bytea CHECK (octet_length(root) = 32),
  signature     bytea CHECK (octet_length(signature) = 48),  -- of the round in force, verified
  seed          bytea CHECK (octet_length(seed) = 32),
  drawn_at      timestamptz,
  -- The last rank that has or had an offer, its key, the end of the last offer, and the number of waves.
  offered_rank  integer NOT NULL DEFAULT 0,
  cutoff        bytea,
  offer_until   timestamptz,
  wave          integer NOT NULL DEFAULT 0,
  done_at       timestamptz,
  cancelled_at  timestamptz,
  cancel_reason text,
  CHECK (entries_open < entries_close),
  CHECK ((root IS NULL) = (entries IS NULL) AND (root IS NULL) = (withdrawn IS NULL)),
  CHECK (root IS NULL OR closed_at IS NOT NULL),
  CHECK (seed IS NULL OR root IS NOT NULL AND signature IS NOT NULL),
  CHECK ((seed IS NULL) = (drawn_at IS NULL)),
  CHECK ((cancelled_at IS NULL) = (cancel_reason IS NULL))
) WITH (fillfactor = 50);

-- The entrants. A row without user and salt is an erased person's: its leaf is a random number.
CREATE TABLE entries (
  id           uuid PRIMARY KEY,           -- random, because the id is enough to read the entry
  drop_id      integer NOT NULL,           -- no foreign key, as in slots
  user_id      text,
  salt         bytea CHECK (octet_length(salt) = 32),
  leaf_hash    bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
  entered_at   timestamptz NOT NULL DEFAULT now(),
  withdrawn_at timestamptz,
  CHECK ((user_id IS NULL) = (salt IS NULL))
);
CREATE UNIQUE INDEX entries_one_of_a_user ON entries (drop_id, user_id) WHERE withdrawn_at IS NULL;
CREATE UNIQUE INDEX entries_leaves ON entries (drop_id, leaf_hash);

-- The leaves under the root, as they are published: hashes one after the other, 1,000 a page.
CREATE TABLE draw_leaf_pages (
  drop_id integer NOT NULL REFERENCES draws,
  kind    text NOT NULL CHECK (kind IN ('tree', 'withdrawn')),
  page    integer NOT NULL CHECK (page >= 0),
  leaves  bytea NOT NULL CHECK (octet_length(leaves) % 32 = 0 AND octet_length(leaves) BETWEEN 32 AND 32000),
  PRIMARY KEY (drop_id, kind, page)
);

-- Every signed checkpoint. At most one is in force; the others were too late for their round.
CREATE TABLE draw_checkpoints (
  drop_id      integer NOT NULL REFERENCES draws,
  round        integer NOT NULL CHECK (round > 0),
  round_at     timestamptz NOT NULL,
  note         text NOT NULL,
  published_at timestamptz NOT NULL DEFAULT now(),
  shown_at     timestamptz,   -- a later transaction saw it committed, early enough
  refused      text,          -- why it is not in force
  PRIMARY KEY (drop_id, round),
  CHECK (shown_at IS NULL OR refused IS NULL)
);
CREATE UNIQUE INDEX draw_checkpoints_in_force ON draw_checkpoints (drop_id) WHERE refused IS NULL;

-- The order of the entries.
CREATE TABLE draw_ranks (
  drop_id  integer NOT NULL,
  rank     integer NOT NULL CHECK (rank > 0),
  entry_id uuid NOT NULL,
  PRIMARY KEY (drop_id, rank)
);
CREATE UNIQUE INDEX draw_ranks_of_entry ON draw_ranks (entry_id);

-- The number that each rank was offered. NULL: the entrant was erased earlier, and the rank was passed over.
CREATE TABLE draw_offers (
  drop_id      integer NOT NULL REFERENCES draws,
  rank         integer NOT NULL CHECK (rank > 0),
  leaf_hash    bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
  wave         integer NOT NULL CHECK (wave > 0),
  sequence_num integer CHECK (sequence_num > 0),
  hold_id      uuid UNIQUE,
  PRIMARY KEY (drop_id, rank),
  CHECK ((sequence_num IS NULL) = (hold_id IS NULL))
);

CREATE FUNCTION refuse_change_of_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the terms of a draw never change' USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER draws_terms_are_fixed
  BEFORE UPDATE OF terms, terms_hash, entries_open, entries_close, challenge_s, chain_hash ON draws FOR EACH ROW
  EXECUTE FUNCTION refuse_change_of_terms();
CREATE TRIGGER drops_terms_are_fixed BEFORE UPDATE OF capacity, opens_at, closes_at, hold_ttl_s, hold_extensions ON drops
  FOR EACH ROW
  WHEN (OLD.sale = 'draw' AND (NEW.capacity, NEW.closes_at, NEW.hold_ttl_s, NEW.hold_extensions)
        IS DISTINCT FROM (OLD.capacity, OLD.closes_at, OLD.hold_ttl_s, OLD.hold_extensions))
  EXECUTE FUNCTION refuse_change_of_terms();

-- A function for the same reasons as grant_service_roles(): an administrator may have to create the groups first.
CREATE FUNCTION grant_draw_tables() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_mint') THEN
    GRANT SELECT, INSERT, UPDATE ON draws, entries, draw_checkpoints TO vyris_mint;
    GRANT SELECT, INSERT ON draw_leaf_pages, draw_ranks, draw_offers TO vyris_mint;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_operator') THEN
    GRANT SELECT, INSERT, UPDATE ON draws TO vyris_operator;
    GRANT SELECT, UPDATE ON entries TO vyris_operator;
    GRANT SELECT, INSERT ON draw_leaf_pages TO vyris_operator;
    GRANT SELECT ON draw_ranks, draw_offers, draw_checkpoints TO vyris_operator;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION grant_draw_tables() FROM PUBLIC;

SELECT grant_draw_tables();

-- migrate:down

DROP TRIGGER drops_terms_are_fixed ON drops;
DROP TABLE draw_offers, draw_ranks, draw_checkpoints, draw_leaf_pages, entries, draws;
DROP FUNCTION refuse_change_of_terms();
DROP FUNCTION grant_draw_tables();
