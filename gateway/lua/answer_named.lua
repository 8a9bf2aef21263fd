-- Routes with a service that names the status of each answer in `x-http-status`.

local BODILESS = {["204"] = true, ["304"] = true}

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") ~= "200" then
    answer_failure(handle, headers)
    return
  end
  local status = headers:get("x-http-status") or SUCCESS_STATUS
  if not status:match("^[2345]%d%d$") then
    write_fixed(handle, headers, UNFINISHED)
    return
  end
  headers:replace(":status", status)
  if BODILESS[status] then
    handle:body(true):setBytes("")
    -- Waiting for the body invalidated the first handle of the headers.
    headers = handle:headers()
    headers:remove("content-type")
    headers:remove("content-length")
  end
end
