-- A drop day: of a hundred requests 90 meet a drop that is sold out, 8 mint, 1 is a replay, 1 verifies an encounter
-- (or is a replay too, where there is no file of encounters).
-- Arguments: run tier year sold_out_tier replayed_run replayed_receipts encounters_file
sent = 0
local run, tier, year, sold_out_tier, replayed_run, replayed_receipts
local mint_head, sold_out_head, replay_head
local encounters, next_encounter = {}, 0

function init(args)
  run, tier, year, sold_out_tier = args[1], args[2], args[3], args[4]
  replayed_run, replayed_receipts = args[5], tonumber(args[6])
  mint_head = post_head("/mint", #mint_body(tier, year, run, thread_number, 0))
  sold_out_head = post_head("/mint", #mint_body(sold_out_tier, year, run, thread_number, 0))
  replay_head = post_head("/mint", #mint_body(tier, year, replayed_run, 1, 0))
  if args[7] then
    for line in io.lines(args[7]) do
      encounters[#encounters + 1] = post_head("/encounters/verify", #line) .. line
    end
  end
end

function request()
  sent = sent + 1
  local kind = (sent * 37) % 100
  if kind < 90 then
    return sold_out_head .. mint_body(sold_out_tier, year, run, thread_number, sent)
  elseif kind < 98 then
    return mint_head .. mint_body(tier, year, run, thread_number, sent)
  elseif kind == 98 and next_encounter < #encounters then
    next_encounter = next_encounter + 1
    return encounters[next_encounter]
  end
  return replay_head .. mint_body(tier, year, replayed_run, 1, (sent * 7919) % replayed_receipts + 1)
end
