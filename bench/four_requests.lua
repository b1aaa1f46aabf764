-- The requests of bench/four_requests.py, one after the other on each connection, nothing checked.
local requests, n = {}, 0

function init(args)
  local json = { ["Content-Type"] = "application/json" }
  requests = {
    wrk.format("GET", "/"),
    wrk.format("GET", "/json"),
    wrk.format("POST", "/json", json, '{"sku":"sku-0001","quantity":2}'),
    wrk.format("GET", "/1k"),
  }
end

function request()
  n = n % 4 + 1
  return requests[n]
end
