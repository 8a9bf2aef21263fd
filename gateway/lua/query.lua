-- Requests with a query string: all parameters but those in ALLOWED are removed
-- before they are logged, traced or transcoded. Then the request is routed again.
-- Comes after bodiless.lua, and replaces its function.

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = headers:get(":path"):match("^([^?]*)%?(.*)$")
  if path == nil then
    return drop_body(handle)
  end
  local kept = {}
  for parameter in query:gmatch("[^&]+") do
    if ALLOWED[parameter:match("^[^=]*")] then
      kept[#kept + 1] = parameter
    end
  end
  if #kept > 0 then
    path = path .. "?" .. table.concat(kept, "&")
  end
  headers:replace(":path", path)
  drop_body(handle)
end
