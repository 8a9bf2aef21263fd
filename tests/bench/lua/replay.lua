-- POST /mint with receipts that `mint.lua` sent before, in turn.
-- Arguments: run tier year receipts
sent = 0
local run, tier, year, receipts, head

function init(args)
  run, tier, year, receipts = args[1], args[2], args[3], tonumber(args[4])
  head = post_head("/mint", #mint_body(tier, year, run, 1, 0))
end

function request()
  sent = sent + 1
  return head .. mint_body(tier, year, run, 1, (sent * 7919) % receipts + 1)
end
