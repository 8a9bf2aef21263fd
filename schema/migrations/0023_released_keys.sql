-- migrate:up

-- The hold or membership that a released key counted for. A membership that is restored counts all its keys again, and a
-- waiver finds all keys of a person whose holds have ended.
ALTER TABLE person_keys ADD COLUMN last_held_by uuid;

-- migrate:down

ALTER TABLE person_keys DROP COLUMN last_held_by;
