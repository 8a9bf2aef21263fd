-- Routes with one constant status for a success, SUCCESS_STATUS.

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") == "200" then
    if SUCCESS_STATUS ~= "200" then
      headers:replace(":status", SUCCESS_STATUS)
    end
    return
  end
  answer_failure(handle, headers)
end
