-- POST /drops/{tier}/{year}/holds, every request with a user of its own.
-- Arguments: run tier year
sent = 0
local run, head

local function body(number)
  return string.format('{"user_id":"user-%s-%02d-%010d"}', run, thread_number, number)
end

function init(args)
  run = args[1]
  head = post_head("/drops/" .. args[2] .. "/" .. args[3] .. "/holds", #body(0))
end

function request()
  sent = sent + 1
  return head .. body(sent)
end
