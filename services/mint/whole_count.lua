-- Is put before the scripts that calculate with a count.

-- Whether a value is a count that we wrote: a whole number of at most ten characters.
local function whole_count(value)
  return type(value) == 'string' and #value <= 10 and (value == '0' or value:match('^-?[1-9]%d*$') ~= nil)
end

