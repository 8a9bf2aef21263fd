-- migrate:up

-- Whether a user had a hold that ended without a membership. Live holds have holds_one_of_a_user. A mint turns its hold
-- into a USED one, which no index but the primary key's contains, so the mint writes one entry instead of two.
CREATE INDEX holds_ended_of_user ON holds (drop_id, user_id) WHERE state IN ('LAPSED', 'RELEASED');
DROP INDEX holds_of_user;

-- migrate:down

CREATE INDEX holds_of_user ON holds (drop_id, user_id, taken_at);
DROP INDEX holds_ended_of_user;
