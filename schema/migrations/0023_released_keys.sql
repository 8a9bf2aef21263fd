-- migrate:up

-- The keys that a hold or membership had when its number came back. A membership that is restored counts them again, and
-- a waiver finds the keys of a person whose holds have ended. A table of its own: as long as person_keys is small, a wider
-- row would change how its look-ups are planned.
CREATE TABLE released_keys (
  holder  uuid NOT NULL,      -- the hold or membership
  kind    text NOT NULL CHECK (kind IN ('user', 'device', 'store_account', 'email', 'payer')),
  digest  bytea NOT NULL CHECK (octet_length(digest) = 32),
  drop_id integer NOT NULL,   -- no foreign key, as in person_keys
  PRIMARY KEY (holder, kind, digest)
);
CREATE INDEX released_keys_of_drop ON released_keys (drop_id);

-- A function for the same reasons as grant_service_roles(): an administrator may have to create the groups first.
CREATE FUNCTION grant_released_keys() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_mint') THEN
    GRANT SELECT, INSERT, DELETE ON released_keys TO vyris_mint;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_operator') THEN
    GRANT SELECT, INSERT, DELETE ON released_keys TO vyris_operator;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION grant_released_keys() FROM PUBLIC;

SELECT grant_released_keys();

-- migrate:down

DROP FUNCTION grant_released_keys();
DROP TABLE released_keys;
