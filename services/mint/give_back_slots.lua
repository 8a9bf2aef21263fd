-- Gives back ARGV[1] slots of a drop that were taken and not used.
-- KEYS[1] the drop's count. One that is missing or no whole number stays as it is: the recount will write it.
local count = redis.pcall('GET', KEYS[1])
if type(count) ~= 'string' or #count > 10 or not (count == '0' or count:match('^-?[1-9]%d*$')) then return -1 end
return redis.call('INCRBY', KEYS[1], ARGV[1])
