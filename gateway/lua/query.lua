-- Requests with a query string: all parameters but those in ALLOWED are removed
-- before they are logged, traced or transcoded. Then the request is routed again.
-- Comes after bodiless.lua, and replaces its function.

-- Returns the path with its listed parameters, which is now the request's.
local function keep_listed(headers)
  local whole = headers:get(":path")
  local path, query = whole:match("^([^?]*)%?(.*)$")
  if path == nil then
    return whole
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
  if path ~= whole then
    headers:replace(":path", path)
  end
  return path
end

function envoy_on_request(handle)
  keep_listed(handle:headers())
  drop_body(handle)
end
