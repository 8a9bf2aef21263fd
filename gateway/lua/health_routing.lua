-- grpc.health.v1.Health on the native listener: the request's message contains the
-- service's name. This script copies it into a header that routes match.

local HEADER = "x-vyris-health-service"

-- Reads HealthCheckRequest.service from one length-prefixed gRPC message: flag byte,
-- four bytes of length, then field 1 (tag 0x0a), its length in one byte, its text.
local function service_asked(bytes)
  if bytes:byte(1) ~= 0 or bytes:byte(6) ~= 0x0a then
    return ""
  end
  local length = bytes:byte(7)
  if length == nil or length > 127 or #bytes ~= 7 + length then
    return ""
  end
  return bytes:sub(8):match("^[%w%._-]+$") or ""
end

function envoy_on_request(handle)
  local body = handle:body()
  local service = ""
  if body ~= nil and body:length() >= 5 then
    service = service_asked(body:getBytes(0, body:length()))
  end
  handle:headers():replace(HEADER, service ~= "" and service or "-")
end
