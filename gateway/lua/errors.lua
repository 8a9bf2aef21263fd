-- Writes the contract's error body with three keys. All scripts share it. The
-- header_mutation filter, the last one for an answer, removes the headers that
-- carry an error inside the suite.
--
-- The text before it comes from `vyris.errors` (gateway/bare_statuses.py): UNFINISHED, UNREACHABLE and BY_GRPC_STATUS,
-- each error as {HTTP status, error, message, retryable, Retry-After in seconds or nil}.

local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}

local function percent_decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- A JSON string. Bytes that are not ASCII stay unchanged, because services send UTF-8.
local function json_string(text)
  local escaped = text:gsub('[%c"\\\127]', function(char)
    return ESCAPES[char] or string.format("\\u%04x", char:byte())
  end)
  return '"' .. escaped .. '"'
end

local function json_error(code, message, retryable)
  return '{"error":' .. json_string(code) .. ',"message":' .. json_string(message)
    .. ',"retryable":' .. tostring(retryable) .. "}"
end

-- A cache: there are only a few different messages. Its size is limited.
local cached, cached_count = {}, 0
local function service_error_body(code, grpc_message, retryable)
  local key = code .. "\n" .. retryable .. "\n" .. grpc_message
  local body = cached[key]
  if body == nil then
    body = json_error(code, percent_decode(grpc_message), retryable == "true")
    if cached_count < 512 then
      cached[key] = body
      cached_count = cached_count + 1
    end
  end
  return body
end

local function write_answer(handle, headers, status, body)
  headers:replace(":status", status)
  headers:replace("content-type", "application/json")
  local buffer = handle:body(true)
  -- There is none if a service failed after it had sent initial metadata.
  if buffer ~= nil then
    buffer:setBytes(body)
  end
end

local function write_fixed(handle, headers, fixed)
  if fixed[5] ~= nil then
    headers:replace("retry-after", fixed[5])
  end
  write_answer(handle, headers, fixed[1], json_error(fixed[2], fixed[3], fixed[4]))
end

-- The answer to a failed call, or to a peer that does not speak gRPC. Envoy's own
-- replies already have the body of the local reply mappers.
local function answer_failure(handle, headers)
  local grpc_status = headers:get("grpc-status")
  if grpc_status == nil then
    if headers:get("content-type") ~= "application/json" then
      write_fixed(handle, headers, UNREACHABLE)
    end
    return
  end
  local code = headers:get("x-error-code")
  local http_status = headers:get("x-error-status")
  local retryable = headers:get("x-error-retryable")
  local message = headers:get("grpc-message") or ""
  if code ~= nil then
    handle:streamInfo():dynamicMetadata():set("vyris", "error", code)
  end
  if code ~= nil and http_status ~= nil and http_status:match("^[45]%d%d$") then
    write_answer(handle, headers, http_status, service_error_body(code, message, retryable or "false"))
  else
    write_fixed(handle, headers, BY_GRPC_STATUS[grpc_status] or UNFINISHED)
  end
end
