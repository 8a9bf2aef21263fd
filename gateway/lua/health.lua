-- GET /health: every failure means that the suite is unhealthy.

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  -- A request that the gateway refused itself says nothing about the suite.
  if status == "200" or (status:sub(1, 1) == "4" and headers:get("grpc-status") == nil) then
    return
  end
  headers:remove("retry-after")
  write_answer(handle, headers, "503", '{"status":"unhealthy"}')
end
