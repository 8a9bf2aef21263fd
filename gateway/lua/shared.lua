-- Routes whose answer is everybody's: it is kept for a moment, so that a crowd costs the service a few calls a second.
-- Each worker of Envoy keeps its own. Stands behind answer.lua and bodiless.lua, whose functions it calls.

local KEPT_MS = 400  -- the service's answer is 0.5 s old at most, and a change is visible within a second
local KEPT_LIMIT, LENGTH_LIMIT = 64, 16384
local TAG_LIMIT = 1024
local CACHE_CONTROL = "public, max-age=1, stale-while-revalidate=5"
local MEMORY = "vyris.shared"

local shape_answer, take_request = envoy_on_response, envoy_on_request
local kept, kept_count = {}, 0

-- The service's own tag, or the body itself, in the characters that a tag may have: two answers with one tag are the
-- same. A long body without a tag of the service's gets none, and is not kept.
local function etag_of(headers, body)
  return headers:get("etag") or #body <= TAG_LIMIT and '"' .. body:gsub('[^%w,:._-]', "") .. '"' or nil
end

local function is_known(tags, etag)
  return tags ~= nil and (tags == "*" or tags:find(etag, 1, true) ~= nil)
end

local function keep(path, answer)
  if kept[path] == nil then
    if kept_count >= KEPT_LIMIT then
      kept, kept_count = {}, 0
    end
    kept_count = kept_count + 1
  end
  kept[path] = answer
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, tags = headers:get(":path"), headers:get("if-none-match")
  local answer = kept[path]
  if answer ~= nil and handle:timestamp() < answer.until_ms then
    if is_known(tags, answer.etag) then
      handle:respond(answer.not_changed, "")
    else
      handle:respond(answer.headers, answer.body)
    end
    return
  end
  local memory = handle:streamInfo():dynamicMetadata()
  memory:set(MEMORY, "path", path)
  memory:set(MEMORY, "tags", tags or "")
  take_request(handle)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("x-vyris-kept") ~= nil then
    headers:replace("cache-control", CACHE_CONTROL)  -- instead of what the route adds to every answer
    return
  end
  local asked = handle:streamInfo():dynamicMetadata():get(MEMORY)
  if headers:get(":status") ~= "200" or headers:get("grpc-status") ~= nil and headers:get("grpc-status") ~= "0"
    or asked == nil then
    shape_answer(handle)
    return
  end
  local buffer = handle:body(true)
  local body = buffer:getBytes(0, buffer:length())
  -- Waiting for the body ended the life of the first handle on the headers.
  headers = handle:headers()
  headers:replace("cache-control", CACHE_CONTROL)
  local etag = etag_of(headers, body)
  if etag == nil then
    return
  end
  headers:replace("etag", etag)
  if #body <= LENGTH_LIMIT then
    local vary = headers:get("vary")  -- nil, and so absent below, for most
    keep(asked.path, {
      body = body,
      etag = etag,
      headers = {
        [":status"] = "200", ["content-type"] = "application/json", ["etag"] = etag, ["x-vyris-kept"] = "1", ["vary"] = vary,
      },
      not_changed = {[":status"] = "304", ["etag"] = etag, ["x-vyris-kept"] = "1", ["vary"] = vary},
      until_ms = handle:timestamp() + KEPT_MS,
    })
  end
  if is_known(asked.tags, etag) then
    headers:replace(":status", "304")
    handle:body(true):setBytes("")
    headers = handle:headers()
    headers:remove("content-type")
    headers:remove("content-length")
  end
end
