-- migrate:up

-- The actor of an entry is a name that its caller gives. Beside it Postgres now writes what it knows itself: the login of
-- the session, and where it came from. Entries from before this migration have none of it.
ALTER TABLE audit_log
  ADD COLUMN database_user    text,   -- session_user: the login, also after SET ROLE
  ADD COLUMN client_address   inet,   -- NULL for a session over a unix socket
  ADD COLUMN application_name text;

CREATE FUNCTION stamp_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.happened_at := now();
  NEW.database_user := session_user;
  NEW.client_address := inet_client_addr();
  NEW.application_name := current_setting('application_name');
  RETURN NEW;
END
$$;
CREATE TRIGGER audit_log_stamp BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION stamp_audit_log();

-- The table's owner, or a thief of his login, has the right to change it: the trigger refuses that.
-- It allows one change: redact_audit_log() removes the names of an erased person from an entry.
CREATE FUNCTION refuse_audit_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  redacted text[] := ARRAY['subject', 'reason', 'details'];
  callers text;
BEGIN
  GET DIAGNOSTICS callers = PG_CONTEXT;
  IF TG_OP = 'UPDATE' AND callers LIKE '%function redact_audit_log(text[],text[])%'
     AND to_jsonb(NEW) - redacted = to_jsonb(OLD) - redacted THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE ON audit_log
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_log_change();
CREATE TRIGGER audit_log_keeps_entries BEFORE DELETE OR TRUNCATE ON audit_log
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_log_change();

-- A change of the schema is a change by an operator, by any command: dbmate writes its version in the same
-- transaction. The first migrations of a database without a drop change no data.
CREATE FUNCTION audit_migration() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM drops) THEN
    INSERT INTO audit_log (actor, action, subject, reason)
    SELECT coalesce(substring(current_setting('application_name') FROM '^vyris-migrate/(.+)$'), session_user),
           CASE TG_OP WHEN 'INSERT' THEN 'schema.migrate' ELSE 'schema.revert' END,
           coalesce(NEW.version, OLD.version),
           'by command';
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER schema_migrations_audit AFTER INSERT OR DELETE ON schema_migrations
  FOR EACH ROW EXECUTE FUNCTION audit_migration();

-- What the `vyris` command needs, and no more. A person logs in as a member of the group: his login is in the audit log.
-- A function for the same reasons as grant_service_roles().
CREATE FUNCTION grant_operator_role() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_operator') THEN
    BEGIN
      CREATE ROLE vyris_operator NOLOGIN;
    EXCEPTION
      WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
    END;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_operator') THEN
    RETURN;
  END IF;
  GRANT SELECT ON drops, drop_tallies, slots, memberships, membership_events, receipt_ledger, store_notifications,
    receipt_refunds, devices, contacts, passes, pass_registrations, pass_pushes, reforge_requests, email_changes,
    mail_outbox, encounters, audit_log TO vyris_operator;
  -- Append, and no more: the other columns are Postgres' to fill.
  GRANT INSERT (actor, action, subject, reason, details) ON audit_log TO vyris_operator;
  -- vyris drop, membership revoke, receipts, pass build
  GRANT INSERT, UPDATE ON drops, drop_tallies TO vyris_operator;
  GRANT INSERT, UPDATE, DELETE ON slots TO vyris_operator;  -- UPDATE: to lock those that are withdrawn
  GRANT UPDATE ON memberships, receipt_ledger TO vyris_operator;
  GRANT INSERT ON membership_events, passes TO vyris_operator;
  -- vyris user erase
  GRANT SELECT, DELETE ON device_proof_uses TO vyris_operator;
  GRANT DELETE ON mail_outbox, reforge_requests, email_changes, contacts, devices TO vyris_operator;
  GRANT UPDATE ON encounters TO vyris_operator;
  -- Migration 0015 brings the function.
  IF to_regprocedure('redact_audit_log(text[], text[])') IS NOT NULL THEN
    GRANT EXECUTE ON FUNCTION redact_audit_log(text[], text[]) TO vyris_operator;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION grant_operator_role() FROM PUBLIC;

SELECT grant_operator_role();

-- migrate:down

DROP TRIGGER schema_migrations_audit ON schema_migrations;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_operator') THEN
    REVOKE ALL ON ALL TABLES IN SCHEMA public FROM vyris_operator;
    REVOKE INSERT (actor, action, subject, reason, details) ON audit_log FROM vyris_operator;
  END IF;
END
$$;
DROP FUNCTION grant_operator_role(), audit_migration();
DROP TRIGGER audit_log_keeps_entries ON audit_log;
DROP TRIGGER audit_log_is_append_only ON audit_log;
DROP TRIGGER audit_log_stamp ON audit_log;
DROP FUNCTION refuse_audit_log_change(), stamp_audit_log();
ALTER TABLE audit_log DROP COLUMN database_user, DROP COLUMN client_address, DROP COLUMN application_name;
