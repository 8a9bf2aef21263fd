-- POST /mint, every request with a receipt of its own.
-- Arguments: run tier year
sent = 0
local run, tier, year, head

function init(args)
  run, tier, year = args[1], args[2], args[3]
  head = post_head("/mint", #mint_body(tier, year, run, thread_number, 0))
end

function request()
  sent = sent + 1
  return head .. mint_body(tier, year, run, thread_number, sent)
end
