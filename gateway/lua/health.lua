-- GET /health: whatever goes wrong, the suite is unhealthy.

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") == "200" then
    return
  end
  headers:remove("retry-after")
  write_answer(handle, headers, "503", '{"status":"unhealthy"}')
end
