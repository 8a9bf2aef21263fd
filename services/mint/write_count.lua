-- Overwrites a drop's count with ARGV[1], even if the key holds a value of another type.
-- KEYS[1] the drop's count. Returns the value before; nil if there was none, or one of another type.
local before = redis.pcall('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
if type(before) ~= 'string' then return false end
return before
