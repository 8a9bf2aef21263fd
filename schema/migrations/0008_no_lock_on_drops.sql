-- migrate:up

-- Each receipt and each membership locked its drop's row, to check that it exists: a quarter of what a mint cost
-- Postgres, and one row in which all processes wrote their locks. A drop cannot be deleted: its tallies, which exist
-- from its first moment, keep their foreign key, and no service may delete one.
ALTER TABLE receipt_ledger DROP CONSTRAINT receipt_ledger_drop_id_fkey;
ALTER TABLE memberships DROP CONSTRAINT memberships_drop_id_fkey;

-- migrate:down

ALTER TABLE receipt_ledger ADD CONSTRAINT receipt_ledger_drop_id_fkey FOREIGN KEY (drop_id) REFERENCES drops NOT VALID;
ALTER TABLE memberships ADD CONSTRAINT memberships_drop_id_fkey FOREIGN KEY (drop_id) REFERENCES drops NOT VALID;
ALTER TABLE receipt_ledger VALIDATE CONSTRAINT receipt_ledger_drop_id_fkey;
ALTER TABLE memberships VALIDATE CONSTRAINT memberships_drop_id_fkey;
