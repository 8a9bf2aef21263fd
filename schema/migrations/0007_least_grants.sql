-- migrate:up

-- Revokes grants that no statement needs, and lets reforge delete old changes of address. Replaces the function of 0006,
-- so that running it again grants the same.
CREATE OR REPLACE FUNCTION grant_service_roles() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  service text;
  granted record;
BEGIN
  FOREACH service IN ARRAY ARRAY['vyris_mint', 'vyris_encounter', 'vyris_wallet', 'vyris_reforge'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', service);
      EXCEPTION
        -- Groups belong to the server, and another database's migration may be making them right now.
        WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
      END;
    END IF;
  END LOOP;

  FOR granted IN
    SELECT * FROM (VALUES
      ('vyris_mint', 'SELECT, INSERT, UPDATE', 'drops, memberships, drop_tallies, store_notifications, receipt_refunds'),
      ('vyris_mint', 'SELECT, INSERT, UPDATE, DELETE', 'slots, receipt_ledger'),
      ('vyris_mint', 'INSERT', 'membership_events, audit_log'),
      ('vyris_mint', 'INSERT', 'devices, contacts'),

      ('vyris_encounter', 'SELECT, INSERT, UPDATE', 'encounters'),
      ('vyris_encounter', 'SELECT, INSERT', 'device_proof_uses'),
      ('vyris_encounter', 'SELECT', 'memberships, devices'),

      ('vyris_wallet', 'SELECT, INSERT, UPDATE', 'passes'),
      ('vyris_wallet', 'SELECT, INSERT, UPDATE, DELETE', 'pass_registrations, pass_pushes'),
      ('vyris_wallet', 'SELECT, UPDATE', 'wallet_cursor'),
      ('vyris_wallet', 'SELECT, INSERT', 'device_proof_uses'),
      ('vyris_wallet', 'SELECT', 'memberships, drops, devices, membership_events'),

      ('vyris_reforge', 'SELECT, INSERT, UPDATE, DELETE', 'reforge_requests, email_changes, mail_outbox, device_proof_uses'),
      ('vyris_reforge', 'SELECT, INSERT, UPDATE', 'devices, contacts'),
      ('vyris_reforge', 'INSERT', 'membership_events, audit_log'),
      ('vyris_reforge', 'SELECT', 'memberships, drops')
    ) AS matrix (role, privileges, tables)
    WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = matrix.role)
  LOOP
    EXECUTE format('GRANT %s ON %s TO %I', granted.privileges, granted.tables, granted.role);
  END LOOP;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_wallet') THEN
    GRANT USAGE ON SEQUENCE pass_update_tags TO vyris_wallet;
  END IF;
END
$$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_encounter') THEN
    REVOKE ALL ON drops, audit_log FROM vyris_encounter;
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_wallet') THEN
    REVOKE ALL ON contacts, audit_log FROM vyris_wallet;
  END IF;
END
$$;

SELECT grant_service_roles();

-- migrate:down

CREATE OR REPLACE FUNCTION grant_service_roles() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  service text;
  granted record;
BEGIN
  FOREACH service IN ARRAY ARRAY['vyris_mint', 'vyris_encounter', 'vyris_wallet', 'vyris_reforge'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', service);
      EXCEPTION
        -- Groups belong to the server, and another database's migration may be making them right now.
        WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
      END;
    END IF;
  END LOOP;

  FOR granted IN
    SELECT * FROM (VALUES
      ('vyris_mint', 'SELECT, INSERT, UPDATE', 'drops, memberships, drop_tallies, store_notifications, receipt_refunds'),
      ('vyris_mint', 'SELECT, INSERT, UPDATE, DELETE', 'slots, receipt_ledger'),
      ('vyris_mint', 'INSERT', 'membership_events, audit_log'),
      ('vyris_mint', 'INSERT', 'devices, contacts'),

      ('vyris_encounter', 'SELECT, INSERT, UPDATE', 'encounters'),
      ('vyris_encounter', 'SELECT, INSERT', 'device_proof_uses'),
      ('vyris_encounter', 'SELECT', 'memberships, drops, devices'),
      ('vyris_encounter', 'INSERT', 'audit_log'),

      ('vyris_wallet', 'SELECT, INSERT, UPDATE', 'passes'),
      ('vyris_wallet', 'SELECT, INSERT, UPDATE, DELETE', 'pass_registrations, pass_pushes'),
      ('vyris_wallet', 'SELECT, UPDATE', 'wallet_cursor'),
      ('vyris_wallet', 'SELECT, INSERT', 'device_proof_uses'),
      ('vyris_wallet', 'SELECT', 'memberships, drops, devices, contacts, membership_events'),
      ('vyris_wallet', 'INSERT', 'audit_log'),

      ('vyris_reforge', 'SELECT, INSERT, UPDATE, DELETE', 'reforge_requests, mail_outbox, device_proof_uses'),
      ('vyris_reforge', 'SELECT, INSERT, UPDATE', 'email_changes, devices, contacts'),
      ('vyris_reforge', 'INSERT', 'membership_events, audit_log'),
      ('vyris_reforge', 'SELECT', 'memberships, drops')
    ) AS matrix (role, privileges, tables)
    WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = matrix.role)
  LOOP
    EXECUTE format('GRANT %s ON %s TO %I', granted.privileges, granted.tables, granted.role);
  END LOOP;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_wallet') THEN
    GRANT USAGE ON SEQUENCE pass_update_tags TO vyris_wallet;
  END IF;
END
$$;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_reforge') THEN
    REVOKE DELETE ON email_changes FROM vyris_reforge;
  END IF;
END
$$;

SELECT grant_service_roles();
