-- Gives back ARGV[1] unused slots of a drop.
-- KEYS[1] the drop's count. A missing one, or one that is no whole number, is not changed: the recount will write it.
local count = redis.pcall('GET', KEYS[1])
if not whole_count(count) then return false end
return redis.call('INCRBY', KEYS[1], ARGV[1])
