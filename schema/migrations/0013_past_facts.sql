-- migrate:up

-- Keys of merchants that receipts were accepted with. A receipt that has minted is answered years later, even if the
-- shop has withdrawn the key that signed it. No service changes or deletes a row.
CREATE TABLE merchant_keys (
  issuer        text NOT NULL,   -- the merchant's name
  kid           text NOT NULL,   -- '' where receipts name none
  public_key    text NOT NULL,   -- canonical JWK (RFC 7638)
  first_used_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (issuer, kid, public_key)
);

-- How far Apple's notification history and refund history were compared with ours.
CREATE TABLE app_store_reconciliations (
  environment         text PRIMARY KEY CHECK (environment IN ('production', 'sandbox')),
  -- Every notification up to here was applied.
  notifications_until timestamptz NOT NULL,
  -- The refund history was read for purchases up to this key; the round begins again after the last.
  refunds_after       bytea NOT NULL DEFAULT '',
  updated_at          timestamptz NOT NULL DEFAULT now()
);

-- Earlier versions recorded refunds of products that no drop sold as IGNORED, without any effect. They are applied now,
-- and this index finds those that are left.
CREATE INDEX store_notifications_ignored ON store_notifications (received_at) WHERE outcome = 'IGNORED';

-- A function for the same reasons as grant_service_roles().
CREATE FUNCTION grant_receipt_tables() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_mint') THEN
    GRANT SELECT, INSERT ON merchant_keys TO vyris_mint;
    GRANT SELECT, INSERT, UPDATE ON app_store_reconciliations TO vyris_mint;
  END IF;
  -- vyris receipts reconcile
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'vyris_operator') THEN
    GRANT SELECT, INSERT, UPDATE ON store_notifications, receipt_refunds, app_store_reconciliations TO vyris_operator;
    GRANT INSERT ON receipt_ledger TO vyris_operator;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION grant_receipt_tables() FROM PUBLIC;

SELECT grant_receipt_tables();

-- migrate:down

DROP FUNCTION grant_receipt_tables();
DROP INDEX store_notifications_ignored;
DROP TABLE app_store_reconciliations, merchant_keys;
