-- POST /mint, every request with a receipt of its own.
-- Arguments: run tiers year; several tiers, divided by commas and of one length, take turns.
sent = 0
local run, year, head
local tiers = {}

function init(args)
  run, year = args[1], args[3]
  for tier in args[2]:gmatch("[^,]+") do
    tiers[#tiers + 1] = tier
  end
  head = post_head("/mint", #mint_body(tiers[1], year, run, thread_number, 0))
end

function request()
  sent = sent + 1
  return head .. mint_body(tiers[sent % #tiers + 1], year, run, thread_number, sent)
end
