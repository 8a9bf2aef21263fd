-- Takes up to ARGV[1] slots of a drop, atomically and never below zero.
-- KEYS[1] the drop's count. Returns how many were granted, or -1 (unknown, neither zero nor full) if the count is
-- missing or no whole number.
local count = redis.pcall('GET', KEYS[1])
if not whole_count(count) then return -1 end
local granted = math.min(tonumber(ARGV[1]), math.max(tonumber(count), 0))
if granted > 0 then redis.call('DECRBY', KEYS[1], granted) end
return granted
