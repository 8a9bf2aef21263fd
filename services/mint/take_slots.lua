-- Takes up to ARGV[1] slots of a drop, atomically and never below zero.
-- KEYS[1] the drop's count. Answers how many were granted; -1 where the count is missing,
-- which means unknown, neither zero nor full.
local left = tonumber(redis.call('GET', KEYS[1]) or nil)
if not left then return -1 end
local granted = math.min(tonumber(ARGV[1]), math.max(left, 0))
if granted > 0 then redis.call('DECRBY', KEYS[1], granted) end
return granted
