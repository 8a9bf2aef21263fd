-- migrate:up

-- The registration's own place in the order of updates (passes.update_tag). NULL: the follower has not seen it yet;
-- 0: its pass had never changed. The follower gives it under wallet_cursor's lock, as it does for passes, so that a
-- phone that asks for changes since a tag also gets a pass that it registered after the pass had changed.
-- Older rows start with NULL: phones that once came too late get those passes now.
ALTER TABLE pass_registrations ADD COLUMN tag bigint;
CREATE INDEX pass_registrations_new ON pass_registrations (registered_at) WHERE tag IS NULL;

-- Set by the follower for the pass of an erased person: how long the phone can still learn that the pass is void.
ALTER TABLE pass_registrations ADD COLUMN forget_after timestamptz;
CREATE INDEX pass_registrations_forgotten ON pass_registrations (forget_after) WHERE forget_after IS NOT NULL;

-- Both are foreign identifiers without a documented form. The bound keeps them in an index entry (2,704 bytes at most).
ALTER TABLE pass_registrations
  DROP CONSTRAINT pass_registrations_push_token_check,
  DROP CONSTRAINT pass_registrations_device_library_id_check,
  ADD CONSTRAINT pass_registrations_push_token_check CHECK (octet_length(push_token) BETWEEN 1 AND 2048),
  ADD CONSTRAINT pass_registrations_device_library_id_check CHECK (octet_length(device_library_id) BETWEEN 1 AND 2048);

-- Marks the memberships of erased persons. The code of the version before goes by revoked_reason = 'erased', which an
-- operator can write as well; both are written.
ALTER TABLE memberships ADD COLUMN erased_at timestamptz;
UPDATE memberships SET erased_at = revoked_at WHERE revoked_reason = 'erased' AND user_id LIKE 'erased-%';

-- Transaction ids belong to one cluster. After a dump was loaded into another one, the cursor and old events can have
-- ids that the new cluster has not reached: its new events would be skipped. This lets the follower read all again,
-- which changes only what is wrong. Returns whether there was such an id. Harmless, so everybody may call it.
CREATE FUNCTION adopt_membership_events() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  is_foreign boolean;
BEGIN
  UPDATE membership_events SET transaction = '0' WHERE transaction >= pg_snapshot_xmax(pg_current_snapshot());
  is_foreign := FOUND;
  UPDATE wallet_cursor SET transaction = '0', event_id = 0
  WHERE is_foreign OR transaction >= pg_snapshot_xmax(pg_current_snapshot());
  RETURN FOUND;
END
$$;

-- Replaces a person's names in strings, at any depth. Used by redact_audit_log.
CREATE FUNCTION redact_json(document jsonb, pattern text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path FROM CURRENT AS $$
BEGIN
  RETURN CASE jsonb_typeof(document)
    WHEN 'string' THEN to_jsonb(regexp_replace(document #>> '{}', pattern, 'erased', 'gi'))
    WHEN 'array' THEN (
      SELECT coalesce(jsonb_agg(redact_json(part, pattern) ORDER BY place), '[]')
      FROM jsonb_array_elements(document) WITH ORDINALITY AS parts (part, place))
    WHEN 'object' THEN (
      SELECT coalesce(jsonb_object_agg(key, redact_json(value, pattern)), '{}') FROM jsonb_each(document))
    ELSE document
  END;
END
$$;

-- The one way to change the audit log: takes an erased person's names (user id, addresses, devices, keys) out of the
-- rows that are about the person. Those are the rows about the memberships, and rows with an address or a name too long
-- to be there by chance. Actor, action, time and ids of memberships stay. The
-- trigger of migration 0011 lets it pass.
CREATE FUNCTION redact_audit_log(memberships text[], person text[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  pattern text;
  redacted integer;
BEGIN
  -- Whole words: a user named 7 is no part of a number, and no name is part of a membership's id.
  SELECT '(?<![[:alnum:]_-])(?:' || string_agg(regexp_replace(name, '([^[:alnum:]])', '\\\1', 'g'), '|'
           ORDER BY length(name) DESC) || ')(?![[:alnum:]_-])'
    INTO pattern FROM unnest(person) AS name WHERE name <> '';
  IF pattern IS NULL THEN
    RETURN 0;
  END IF;
  WITH about AS (
    SELECT id FROM audit_log l
    WHERE subject = ANY (memberships) OR subject = ANY (person) OR details -> 'memberships' ?| memberships
       OR EXISTS (SELECT FROM unnest(person) AS name
                  WHERE (length(name) >= 20 OR name LIKE '%@%')
                    AND strpos(lower(concat_ws(' ', subject, reason, details)), lower(name)) > 0)
  ), changed AS (
    SELECT l.id,
           regexp_replace(subject, pattern, 'erased', 'gi') AS subject,
           regexp_replace(reason, pattern, 'erased', 'gi') AS reason,
           redact_json(details, pattern) AS details
    FROM audit_log l JOIN about USING (id)
  )
  UPDATE audit_log l SET subject = c.subject, reason = c.reason, details = c.details
  FROM changed c
  WHERE l.id = c.id AND (l.subject, l.reason, l.details) IS DISTINCT FROM (c.subject, c.reason, c.details);
  GET DIAGNOSTICS redacted = ROW_COUNT;
  RETURN redacted;
END
$$;
REVOKE ALL ON FUNCTION redact_audit_log(text[], text[]) FROM PUBLIC;
SELECT grant_operator_role();

-- migrate:down

DROP FUNCTION redact_audit_log(text[], text[]);
DROP FUNCTION redact_json(jsonb, text);
DROP FUNCTION adopt_membership_events();
ALTER TABLE memberships DROP COLUMN erased_at;
-- What the narrow form cannot hold is forgotten: such a phone registers again.
DELETE FROM pass_registrations WHERE length(push_token) > 256 OR length(device_library_id) > 128;
ALTER TABLE pass_registrations
  DROP CONSTRAINT pass_registrations_push_token_check,
  DROP CONSTRAINT pass_registrations_device_library_id_check,
  ADD CONSTRAINT pass_registrations_push_token_check CHECK (length(push_token) BETWEEN 1 AND 256),
  ADD CONSTRAINT pass_registrations_device_library_id_check CHECK (length(device_library_id) BETWEEN 1 AND 128);
ALTER TABLE pass_registrations DROP COLUMN forget_after, DROP COLUMN tag;
