-- Gives back ARGV[1] slots of a drop that were taken and not used.
-- KEYS[1] the drop's count. A missing count stays missing: the recount will write it.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
return redis.call('INCRBY', KEYS[1], ARGV[1])
