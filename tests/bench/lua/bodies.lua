-- POST one body after the other, from a file with one body a line.
-- Arguments: path file
sent = 0
local requests = {}

function init(args)
  for line in io.lines(args[2]) do
    requests[#requests + 1] = post_head(args[1], #line) .. line
  end
end

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end
