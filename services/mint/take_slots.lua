-- Takes up to ARGV[1] slots of a drop, atomically and never below zero.
-- KEYS[1] the drop's count. Answers how many were granted; -1 where the count is missing or
-- no whole number, which means unknown, neither zero nor full.
local count = redis.pcall('GET', KEYS[1])
if not whole_count(count) then return -1 end
local granted = math.min(tonumber(ARGV[1]), math.max(tonumber(count), 0))
if granted > 0 then redis.call('DECRBY', KEYS[1], granted) end
return granted
