-- migrate:up

-- How a drop sells: to the first who mint, to the first who take a hold, or by a draw. Processes cache it, so it never
-- changes.
ALTER TABLE drops
  ADD COLUMN sale            text NOT NULL DEFAULT 'direct' CHECK (sale IN ('direct', 'hold', 'draw')),
  -- Which keys of a person count, each once among the live memberships and holds; 'user' is always among them.
  ADD COLUMN limits          text[] NOT NULL DEFAULT '{}'
    CHECK (limits <@ ARRAY['user', 'device', 'store_account', 'email', 'payer']
           AND (limits = '{}' OR 'user' = ANY (limits)) AND (sale = 'direct' OR 'user' = ANY (limits))),
  ADD COLUMN hold_ttl_s      integer NOT NULL DEFAULT 600 CHECK (hold_ttl_s BETWEEN 1 AND 604800),
  ADD COLUMN hold_extensions smallint NOT NULL DEFAULT 1 CHECK (hold_extensions BETWEEN 0 AND 100),
  ADD COLUMN hold_attempts   smallint NOT NULL DEFAULT 2 CHECK (hold_attempts BETWEEN 1 AND 1000);

CREATE FUNCTION refuse_change_of_sale() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'sale and limits of a drop never change' USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER drops_sale_is_fixed BEFORE UPDATE OF sale, limits ON drops FOR EACH ROW
  WHEN (NEW.sale <> OLD.sale OR NEW.limits <> OLD.limits) EXECUTE FUNCTION refuse_change_of_sale();

-- How many of the taken numbers are held: taken = minted + held. The code of the version before reads `taken` alone,
-- and its count of unclaimed slots stays right.
ALTER TABLE drop_tallies ADD COLUMN held integer NOT NULL DEFAULT 0;

CREATE TYPE hold_state AS ENUM (
  'HELD',      -- keeps its number while the owner pays -> USED, RELEASED, LAPSED
  'USED',      -- its number became a membership
  'RELEASED',  -- given back by its owner or by the operator
  'LAPSED'     -- its time was over, and a process has taken the number back
);

-- One number each, kept for one user.
CREATE TABLE holds (
  id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),  -- random: the id is enough to read the hold
  drop_id       integer NOT NULL,                            -- no foreign key, as in slots
  user_id       text NOT NULL,
  sequence_num  integer NOT NULL CHECK (sequence_num > 0),   -- the mint shows it, nothing before
  state         hold_state NOT NULL DEFAULT 'HELD',
  taken_at      timestamptz NOT NULL DEFAULT now(),
  expires_at    timestamptz NOT NULL,                        -- what the caller gets; it lapses a grace later
  extensions    smallint NOT NULL DEFAULT 0,
  ended_at      timestamptz,
  membership_id uuid,
  -- The late payment that it was made for; no other receipt can use it.
  receipt_key   bytea CHECK (octet_length(receipt_key) = 32),
  CHECK ((state = 'HELD') = (ended_at IS NULL)),
  CHECK ((state = 'USED') = (membership_id IS NOT NULL))
) WITH (fillfactor = 70);
-- One live hold a user, one a number.
CREATE UNIQUE INDEX holds_one_of_a_user ON holds (drop_id, user_id) WHERE state = 'HELD';
CREATE UNIQUE INDEX holds_one_of_a_number ON holds (drop_id, sequence_num) WHERE state = 'HELD';
-- What lapses next.
CREATE INDEX holds_expiry ON holds (expires_at) WHERE state = 'HELD';
-- Whether a user ever had one, and the operator's list.
CREATE INDEX holds_of_user ON holds (drop_id, user_id, taken_at);

-- What a drop's person keys are digested with; destroyed PERSON_KEY_RETENTION_D after the close. Not a column of drops,
-- which other services read.
CREATE TABLE drop_secrets (
  drop_id integer PRIMARY KEY REFERENCES drops,
  secret  bytea NOT NULL CHECK (octet_length(secret) = 32)
);

-- Keys that people proved: HMAC-SHA-256(the drop's secret, kind and value). Each counts for one hold or membership at a
-- time.
CREATE TABLE person_keys (
  drop_id  integer NOT NULL,
  kind     text NOT NULL CHECK (kind IN ('user', 'device', 'store_account', 'email', 'payer')),
  digest   bytea NOT NULL CHECK (octet_length(digest) = 32),
  -- The hold or membership that it counts for; NULL where that has ended and the number came back.
  held_by  uuid,
  attempts smallint NOT NULL DEFAULT 0,   -- holds that were taken with it
  PRIMARY KEY (drop_id, kind, digest)
) WITH (fillfactor = 80);
CREATE INDEX person_keys_held_by ON person_keys (held_by) WHERE held_by IS NOT NULL;

-- The line: buyers who paid after their hold had lapsed, when no number was free. Each receipt in it is FAILED with
-- HOLD_EXPIRED; the ledger's row decides, under its lock.
CREATE TABLE late_payments (
  receipt_key bytea PRIMARY KEY CHECK (octet_length(receipt_key) = 32),
  drop_id     integer NOT NULL,
  user_id     text NOT NULL,
  user_digest bytea,   -- his key of kind 'user', which his hold will count
  place       bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX late_payments_in_order ON late_payments (drop_id, place);
CREATE INDEX late_payments_of_user ON late_payments (drop_id, user_id);

-- Numbers that a revoked membership keeps: few, and counted by the audit.
CREATE INDEX memberships_revoked ON memberships (drop_id) WHERE revoked_at IS NOT NULL;

-- A function for the same reasons as grant_service_roles(): an administrator may have to create the groups first.
CREATE FUNCTION grant_hold_tables() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_mint') THEN
    GRANT SELECT, INSERT, UPDATE ON holds TO vyris_mint;
    GRANT SELECT, INSERT, UPDATE, DELETE ON person_keys TO vyris_mint;
    GRANT SELECT, INSERT, DELETE ON late_payments, drop_secrets TO vyris_mint;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_operator') THEN
    GRANT SELECT, INSERT, UPDATE ON holds TO vyris_operator;
    GRANT SELECT, INSERT, UPDATE, DELETE ON person_keys TO vyris_operator;
    GRANT SELECT, DELETE ON late_payments TO vyris_operator;
    GRANT SELECT, INSERT ON drop_secrets TO vyris_operator;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION grant_hold_tables() FROM PUBLIC;

SELECT grant_hold_tables();

-- migrate:down

DROP INDEX memberships_revoked;
DROP TABLE late_payments, person_keys, drop_secrets, holds;
DROP TYPE hold_state;
DROP FUNCTION grant_hold_tables();
DROP TRIGGER drops_sale_is_fixed ON drops;
DROP FUNCTION refuse_change_of_sale();
ALTER TABLE drop_tallies DROP COLUMN held;
ALTER TABLE drops DROP COLUMN sale, DROP COLUMN limits, DROP COLUMN hold_ttl_s, DROP COLUMN hold_extensions,
  DROP COLUMN hold_attempts;
