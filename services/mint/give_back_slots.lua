-- Gives back ARGV[1] slots of a drop that were taken and not used.
-- KEYS[1] the drop's count. One that is missing or no whole number stays as it is: the recount will write it.
local count = redis.pcall('GET', KEYS[1])
if not whole_count(count) then return false end
return redis.call('INCRBY', KEYS[1], ARGV[1])
