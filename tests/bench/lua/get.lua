-- GET one path.
-- Arguments: path
sent = 0
local text

function init(args)
  text = "GET " .. args[1] .. " HTTP/1.1\r\nHost: bench\r\n\r\n"
end

function request()
  sent = sent + 1
  return text
end
