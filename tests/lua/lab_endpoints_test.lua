-- The addresses behind services, with no nodes: the test says what becomes of each pod, as a kubelet would.
local pods = dofile "tests/lua/support/pods.lua"
local test = require "test"

local CORE = "/api/v1/namespaces/default/"

local function pod(call, name, address, ready)
  call("POST", pods.PODS, { metadata = { name = name, labels = { app = "a" } }, spec = { hostname = name,
    subdomain = "s", containers = { { name = "main", image = "x:1" } } } })
  pods.bind(call, name)
  local status = pods.running()
  status.podIP, status.podIPs = address, { { ip = address } }
  status.conditions[1].status = ready and "True" or "False"
  pods.set_status(call, name, status)
end

-- "+" before what is ready, "-" before what is not; of slices also "~" behind what leaves.
local function addresses(call)
  local out, slices = {}, {}
  for _, subset in ipairs(call("GET", CORE .. "endpoints/s").subsets or {}) do
    for _, one in ipairs(subset.addresses or {}) do out[#out + 1] = "+" .. one.ip end
    for _, one in ipairs(subset.notReadyAddresses or {}) do out[#out + 1] = "-" .. one.ip end
  end
  for _, slice in ipairs(call("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices").items) do
    for _, one in ipairs(slice.metadata.name:find "^s%-" and slice.endpoints or {}) do
      slices[#slices + 1] = (one.conditions.ready and "+" or "-") .. one.addresses[1]
        .. (one.conditions.terminating and "~" or "")
    end
  end
  table.sort(out)
  table.sort(slices)
  return table.concat(out, " ") .. " | " .. table.concat(slices, " ")
end

local function become(call, wanted)
  pods.eventually("addresses are " .. wanted, function()
    local ok, now = pcall(addresses, call)
    return ok and now == wanted
  end)
end

test("a pod on its way out is no address of a service any more, and stands in slices as leaving", function()
  pods.with({ nodes = 0 }, function(_, call)
    call("POST", CORE .. "services", { metadata = { name = "s", labels = { team = "x" } }, spec = {
      selector = { app = "a" }, ports = { { port = 80 } } } })
    pod(call, "a", "10.0.0.1", true)
    pod(call, "b", "10.0.0.2", false)
    become(call, "+10.0.0.1 -10.0.0.2 | +10.0.0.1 -10.0.0.2")
    test.equal(call("GET", CORE .. "endpoints/s").metadata.labels.team, "x")
    call("DELETE", pods.PODS .. "/a")
    become(call, "-10.0.0.2 | -10.0.0.1~ -10.0.0.2")
    call("DELETE", pods.PODS .. "/a", { gracePeriodSeconds = 0 })
    become(call, "-10.0.0.2 | -10.0.0.2")
  end)
end)

test("a service may publish addresses that are not ready, as those of sets do that find each other", function()
  pods.with({ nodes = 0 }, function(_, call)
    call("POST", CORE .. "services", { metadata = { name = "s" }, spec = { clusterIP = "None",
      publishNotReadyAddresses = true, selector = { app = "a" }, ports = { { port = 80 } } } })
    pod(call, "b", "10.0.0.2", false)
    become(call, "+10.0.0.2 | +10.0.0.2")
    test.equal(call("GET", CORE .. "endpoints/s").metadata.labels["service.kubernetes.io/headless"], "")
    call("DELETE", pods.PODS .. "/b")
    become(call, "+10.0.0.2 | +10.0.0.2~")
  end)
end)
