-- What every script reports at its end: one line that begins with RESULT, a JSON object.
-- `sent` counts the requests that were made, whether or not they were answered before the end.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("thread_number", #threads)
end

function done(summary, latency, requests)
  local sent = 0
  for _, thread in ipairs(threads) do
    sent = sent + (thread:get("sent") or 0)
  end
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"seconds": %.6f, "answers": %d, "refusals": %d, "broken": %d, "timeouts": %d, "sent": %d, ' ..
    '"p50_us": %d, "p90_us": %d, "p99_us": %d, "p999_us": %d, "longest_us": %d}\n',
    summary.duration / 1e6, summary.requests, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout, sent,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9), latency.max))
end

-- An HTTP request of fixed shape: only the body's bytes change, never its length.
function post_head(path, length)
  return "POST " .. path .. " HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: " ..
    length .. "\r\n\r\n"
end

function mint_body(tier, year, run, thread, number)
  return string.format(
    '{"receipt_data":"bench-receipt-%s-%02d-%010d-0123456789abcdefghijklmnopqrstuvwxyz","user_id":"user-%s-%02d-%010d",' ..
    '"tier":"%s","year":"%s"}', run, thread, number, run, thread, number, tier, year)
end
