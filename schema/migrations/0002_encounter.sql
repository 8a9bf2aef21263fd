-- migrate:up

-- Meetings of two members, each proven by a signed token that worked once. Append-only, but for the location.
-- Both memberships were seen live by the very statement that inserts (services/encounter/queries.sql) and
-- memberships are never deleted, so there is no foreign key: its check would write a lock into two rows of
-- mint's hottest table for every encounter.
CREATE TABLE encounters (
  id                  uuid NOT NULL,          -- random; nothing looks it up alone, so nothing indexes it alone
  initiator_id        uuid NOT NULL,          -- the token's sub
  receiver_id         uuid NOT NULL,          -- the token's aud
  -- The replay guard: a token is its signing key and jti, however it is spelled.
  signing_key         text COLLATE "C" NOT NULL CHECK (length(signing_key) = 43),  -- RFC 7638 thumbprint
  jti                 text COLLATE "C" NOT NULL CHECK (length(jti) BETWEEN 1 AND 128),
  encountered_at      timestamptz NOT NULL,   -- the token's iat
  verified_at         timestamptz NOT NULL DEFAULT now(),
  -- Where, in hundredths of a degree; forgotten after ENCOUNTER_LOCATION_RETENTION_DAYS.
  latitude_hundredths  smallint CHECK (latitude_hundredths BETWEEN -9000 AND 9000),
  longitude_hundredths smallint CHECK (longitude_hundredths BETWEEN -18000 AND 18000),
  PRIMARY KEY (jti, signing_key),
  CHECK (initiator_id <> receiver_id),
  CHECK ((latitude_hundredths IS NULL) = (longitude_hundredths IS NULL))
);
-- A membership's encounters, newest first, from either side.
CREATE INDEX encounters_by_initiator ON encounters (initiator_id, verified_at, id);
CREATE INDEX encounters_by_receiver ON encounters (receiver_id, verified_at, id);
-- Locations that are still to be forgotten.
CREATE INDEX encounters_located ON encounters (verified_at) WHERE latitude_hundredths IS NOT NULL;

-- migrate:down

DROP TABLE encounters;
