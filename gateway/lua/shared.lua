-- Routes with the same answer for all callers: it is cached for a moment, so that a crowd costs the service a few calls a
-- second. Each worker of Envoy has its own cache. Parameters that the route does not take are removed first, so that
-- `?_=17` does not lead past the cache. Comes after answer.lua, bodiless.lua and query.lua, and calls their functions.

-- The service's answer is 0.5 s old at most, and a change is visible within a second.
local KEPT_MS = 350
-- Then one request fetches the next answer. Until it is there, the others get the old one: they would all go to the
-- service otherwise.
local REFRESH_MS = 100
local KEPT_LIMIT, LENGTH_LIMIT = 64, 16384
local TAG_LIMIT = 1024
local CACHE_CONTROL = "public, max-age=1, stale-while-revalidate=5"
local MEMORY = "vyris.shared"

local shape_answer = envoy_on_response
local kept, kept_count = {}, 0

-- The tag is the service's own, or the body itself in characters that a tag may have, so equal tags mean equal answers.
-- A long body without a tag from the service gets no tag, and is not cached.
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

local function may_be_given(answer, now_ms)
  if now_ms < answer.until_ms then
    return true
  end
  local others_refresh = answer.is_refreshing and now_ms < answer.until_ms + REFRESH_MS
  answer.is_refreshing = true
  return others_refresh
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, tags = keep_listed(headers), headers:get("if-none-match")
  local answer = kept[path]
  if answer ~= nil and may_be_given(answer, handle:timestamp()) then
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
  drop_body(handle)
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
  -- Waiting for the body invalidated the first handle of the headers.
  headers = handle:headers()
  headers:replace("cache-control", CACHE_CONTROL)
  local etag = etag_of(headers, body)
  if etag == nil then
    return
  end
  headers:replace("etag", etag)
  if #body <= LENGTH_LIMIT then
    local vary = headers:get("vary")  -- nil for most answers: then the tables below have no such key
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
