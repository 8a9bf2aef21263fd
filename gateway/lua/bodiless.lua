-- Requests that need only path and query. The transcoder would let a body's fields override those
-- of the path, so the service would read something else than the log shows.
local function drop_body(handle)
  if handle:headers():get(":method") == "POST" then
    return
  end
  local body = handle:body()
  if body ~= nil then
    body:setBytes("")
  end
end

function envoy_on_request(handle)
  drop_body(handle)
end
