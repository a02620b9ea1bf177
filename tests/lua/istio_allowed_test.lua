-- Who may call whom: cases over every row of what is known of Istio's policies, each with its stage, policy, rule
-- and field; and random policies and requests against a second, slow implementation.
local istio = require "istio"
local test = require "test"

local WORKLOAD = { namespace = "team", labels = { app = "web", tier = "a" }, ports = { [8080] = "http",
  [5432] = "tcp" } }
local PEER = "cluster.local/ns/other/sa/client"

-- A policy named `name` in namespace team (or name "ns/name").
local function policy(name, action, rules, extra)
  local namespace, plain = name:match "^(.-)/(.+)$"
  local object = { apiVersion = "security.istio.io/v1", kind = "AuthorizationPolicy",
    metadata = { name = plain or name, namespace = namespace or "team" }, spec = { action = action, rules = rules } }
  for key, value in pairs(extra or {}) do
    if key == "annotations" then object.metadata.annotations = value else object.spec[key] = value end
  end
  return object
end

local function allow(rule, extra) return policy("p", "ALLOW", { rule }, extra) end
local function deny(rule, extra) return policy("p", "DENY", { rule }, extra) end
local function from(source) return { from = { { source = source } } } end
local function to(operation) return { to = { { operation = operation } } } end
local function when(key, values, not_values)
  return { when = { { key = key, values = values, notValues = not_values } } }
end

local function peer_authentication(name, mode, labels, ports, created)
  local namespace, plain = name:match "^(.-)/(.+)$"
  return { apiVersion = "security.istio.io/v1", kind = "PeerAuthentication",
    metadata = { name = plain or name, namespace = namespace or "team", creationTimestamp = created },
    spec = { mtls = mode and { mode = mode } or nil, selector = labels and { matchLabels = labels } or nil,
      portLevelMtls = ports } }
end

local function request_authentication(name, rules, labels)
  local namespace, plain = name:match "^(.-)/(.+)$"
  return { apiVersion = "security.istio.io/v1", kind = "RequestAuthentication",
    metadata = { name = plain or name, namespace = namespace or "team" },
    spec = { jwtRules = rules, selector = labels and { matchLabels = labels } or nil } }
end

-- A GET of /a/b from the peer, changed by the case.
local function request(change)
  local object = { source = { principal = PEER, ip = "10.1.2.3" }, method = "GET", path = "/a/b", host = "web.team",
    port = 8080, headers = { ["x-one"] = "1" } }
  for key, value in pairs(change or {}) do object[key] = value end
  if change and change.plain then object.source = { ip = "10.1.2.3" } end
  return object
end

-- "yes allow team/p 1", "no deny team/p 1", "ask custom team/c 1", "no allow team/p 1 source.principals"
local function answer(case)
  local workload = {}
  for key, value in pairs(WORKLOAD) do workload[key] = value end
  for key, value in pairs(case.workload or {}) do workload[key] = value end
  local ok, why = istio.allowed(case[1], workload, request(case[2]), case.options)
  local words = { ok == nil and "ask" or ok and "yes" or "no", why.stage, why.policy, why.rule and tostring(why.rule),
    why.field }
  local text = {}
  for i = 1, 5 do text[#text + 1] = words[i] end
  return table.concat(text, " ")
end

local YES, NO = "yes allow team/p 1", "no allow team/p 1 "

-- One field with one value: whether it lets the request pass.
local function field(rule, change, passes, name, extra)
  return { { allow(rule) }, change, passes and YES or NO .. name, options = extra }
end

local function claims(more)
  local object = { iss = "https://issuer", sub = "alice", aud = { "kfp", "x" }, azp = "presenter", email = "a@b",
    groups = { "dev", "ops" }, nested = { deep = { "v" } }, scope = "read write", n = 7 }
  for key, value in pairs(more or {}) do object[key] = value end
  return object
end

local RULE = { issuer = "https://issuer" }

-- A request with a token, at a workload that verifies it.
local function token(rule, passes, name, change, jwt)
  change = change or {}
  change.claims = change.claims or claims()
  local objects = { allow(rule), request_authentication("r", { jwt or RULE }) }
  return { objects, change, passes and YES or NO .. name }
end

local CASES = {
  ["no policy at all"] = { {}, nil, "yes allow" },
  ["a policy of another namespace"] = { { policy("other/p", "ALLOW", {}) }, nil, "yes allow" },
  ["an ALLOW without rules"] = { { policy("p", "ALLOW", nil) }, nil, "no allow team/p rules" },
  ["an ALLOW with an empty list of rules"] = { { policy("p", nil, {}) }, nil, "no allow team/p rules" },
  ["an empty spec"] = { { policy("p", nil, nil) }, nil, "no allow team/p rules" },
  ["a rule that says nothing"] = { { allow {} }, nil, YES },
  ["a DENY rule that says nothing"] = { { deny {} }, nil, "no deny team/p 1" },
  ["a DENY without rules"] = { { policy("p", "DENY", nil) }, nil, "yes allow" },
  ["a policy of the root namespace"] = {
    { policy("istio-system/p", "ALLOW", nil) }, nil, "no allow istio-system/p rules",
  },
  ["another root namespace"] = {
    { policy("istio-system/p", "ALLOW", nil) }, nil, "yes allow", options = { root_namespace = "mesh" },
  },
  ["deny all in the root, allowed in the namespace"] = {
    { policy("istio-system/all", nil, nil), allow {} }, nil, YES,
  },
  ["a selector that matches"] = { { allow({}, { selector = { matchLabels = { app = "web" } } }) }, nil, YES },
  ["a selector of two labels, one wrong"] = {
    { policy("p", "ALLOW", nil, { selector = { matchLabels = { app = "web", tier = "b" } } }) }, nil, "yes allow",
  },
  ["an empty selector"] = { { allow({}, { selector = { matchLabels = {} } }) }, nil, YES },
  ["a policy with targets, at a sidecar"] = {
    { policy("p", "ALLOW", nil, { targetRefs = { { kind = "Gateway", name = "g" } } }) }, nil, "yes allow",
  },
  ["a policy with targets, at its gateway"] = {
    { policy("p", "ALLOW", nil, { targetRefs = { { kind = "Gateway", name = "g" } } }) }, nil, "no allow team/p rules",
    workload = { gateway = "g" },
  },
  ["a policy with one target, at another gateway"] = {
    { policy("p", "ALLOW", nil, { targetRef = { kind = "Gateway", name = "h" } }) }, nil, "yes allow",
    workload = { gateway = "g" },
  },
  ["a gateway falls back to selectors"] = {
    { policy("p", "ALLOW", nil) }, nil, "no allow team/p rules", workload = { gateway = "g" },
  },
  ["a gateway that does not fall back"] = {
    { policy("p", "ALLOW", nil) }, nil, "yes allow", workload = { gateway = "g" },
    options = { selector_gateways = false },
  },
  ["a waypoint never uses selectors"] = {
    { policy("p", "ALLOW", nil) }, nil, "yes allow", workload = { waypoint = "w" },
  },
  ["a waypoint takes a target Service"] = {
    { policy("p", "ALLOW", nil, { targetRefs = { { kind = "Service", name = "web" } } }) }, nil,
      "no allow team/p rules",
    workload = { waypoint = "w", service = "web" },
  },
  ["a waypoint takes its class in the root namespace"] = {
    { policy("istio-system/p", "ALLOW", nil, { targetRefs = { { kind = "GatewayClass", name = "istio-waypoint" } } }) },
    nil, "no allow istio-system/p rules", workload = { waypoint = "w" },
  },
  ["a dry run of ALLOW"] = {
    { policy("p", "ALLOW", nil, { annotations = { ["istio.io/dry-run"] = "true" } }) }, nil, "yes allow",
  },
  ["a dry run of DENY"] = { { deny({}, { annotations = { ["istio.io/dry-run"] = "true" } }) }, nil, "yes allow" },
  ["a dry run that is off"] = {
    { deny({}, { annotations = { ["istio.io/dry-run"] = "false" } }) }, nil, "no deny team/p 1",
  },
  ["AUDIT decides nothing"] = { { policy("p", "AUDIT", { {} }) }, nil, "yes allow" },
  ["DENY comes before ALLOW"] = {
    { allow {}, policy("d", "DENY", { to { methods = { "GET" } } }) }, nil, "no deny team/d 1",
  },
  ["a DENY that does not match"] = {
    { allow {}, policy("d", "DENY", { to { methods = { "PUT" } } }) }, nil, YES,
  },
  ["the second rule allows"] = {
    { policy("p", "ALLOW", { to { methods = { "PUT" } }, to { methods = { "GET" } } }) }, nil, "yes allow team/p 2",
  },
  ["the second policy allows"] = {
    { policy("a", "ALLOW", { to { methods = { "PUT" } } }), allow {} }, nil, YES,
  },
  ["the third rule denies"] = {
    { policy("p", "DENY", { to { methods = { "PUT" } }, to { paths = { "/x" } }, to { paths = { "/a/*" } } }) }, nil,
    "no deny team/p 3",
  },
  -- CUSTOM
  ["an external authorizer is asked"] = {
    { policy("c", "CUSTOM", { {} }, { provider = { name = "o" } }) }, nil, "ask custom team/c 1",
  },
  ["one whose rule does not match is not asked"] = {
    { policy("c", "CUSTOM", { to { paths = { "/x" } } }, { provider = { name = "o" } }) }, nil, "yes allow",
  },
  ["an external authorizer comes before DENY"] = {
    { policy("c", "CUSTOM", { {} }, { provider = { name = "o" } }), deny {} }, nil, "ask custom team/c 1",
  },
  ["two providers deny"] = {
    { policy("c", "CUSTOM", { {} }, { provider = { name = "o" } }),
      policy("d", "CUSTOM", { {} }, { provider = { name = "x" } }) }, nil, "no custom team/c provider",
  },
  ["two policies of one provider"] = {
    { policy("c", "CUSTOM", { to { paths = { "/x" } } }, { provider = { name = "o" } }),
      policy("d", "CUSTOM", { {} }, { provider = { name = "o" } }) }, nil, "ask custom team/d 1",
  },
  -- a rule's parts
  ["from and to and when, all hold"] = {
    { allow { from = from({ namespaces = { "other" } }).from, to = to({ methods = { "GET" } }).to,
      when = when("source.ip", { "10.0.0.0/8" }).when } }, nil, YES,
  },
  ["from holds, to does not"] = {
    { allow { from = from({ namespaces = { "other" } }).from, to = to({ methods = { "PUT" } }).to } }, nil,
    NO .. "operation.methods",
  },
  ["from and to hold, when does not"] = {
    { allow { from = from({ namespaces = { "other" } }).from, when = when("source.ip", { "11.0.0.0/8" }).when } }, nil,
    NO .. "when.source.ip",
  },
  ["one of two sources"] = {
    { allow { from = { { source = { namespaces = { "x" } } }, { source = { namespaces = { "other" } } } } } }, nil, YES,
  },
  ["none of two sources"] = {
    { allow { from = { { source = { namespaces = { "x" } } }, { source = { principals = { "y" } } } } } }, nil,
    NO .. "source.principals",
  },
  ["one of two operations"] = {
    { allow { to = { { operation = { methods = { "PUT" } } }, { operation = { paths = { "/a/b" } } } } } }, nil, YES,
  },
  ["two fields of one operation must both hold"] = {
    { allow(to { methods = { "GET" }, paths = { "/x" } }) }, nil, NO .. "operation.paths",
  },
  ["two conditions must both hold"] = {
    { allow { when = { { key = "source.ip", values = { "10.1.2.3" } },
      { key = "request.headers[x-one]", values = { "2" } } } } }, nil, NO .. "when.request.headers[x-one]",
  },
  ["values and notValues of one condition"] = {
    { allow(when("request.headers[x-one]", { "*" }, { "1" })) }, nil, NO .. "when.request.headers[x-one]",
  },
  ["a list and its negation in one source"] = {
    { allow(from { namespaces = { "*" }, notNamespaces = { "other" } }) }, nil, NO .. "source.notNamespaces",
  },
  -- principals
  ["principals, exact"] = field(from { principals = { PEER } }, nil, true),
  ["principals, another account"] = field(from { principals = { PEER .. "x" } }, nil, false, "source.principals"),
  ["principals, the second one"] = field(from { principals = { "x", PEER } }, nil, true),
  ["principals, prefix"] = field(from { principals = { "cluster.local/ns/other/*" } }, nil, true),
  ["principals, suffix"] = field(from { principals = { "*/sa/client" } }, nil, true),
  ["principals, any identity"] = field(from { principals = { "*" } }, nil, true),
  ["principals, a wildcard in the middle is a letter"] =
    field(from { principals = { "cluster.local/ns/*/sa/client" } }, nil, false, "source.principals"),
  ["principals with spiffe in the request"] =
    field(from { principals = { PEER } }, { source = { principal = "spiffe://" .. PEER } }, true),
  ["principals, plaintext"] = field(from { principals = { "*" } }, { plain = true }, false, "source.principals"),
  ["notPrincipals, plaintext"] = field(from { notPrincipals = { "*" } }, { plain = true }, true),
  ["notPrincipals"] = field(from { notPrincipals = { PEER } }, nil, false, "source.notPrincipals"),
  ["cluster.local means the mesh's own domain"] =
    field(from { principals = { PEER } }, { source = { principal = "td1/ns/other/sa/client" } }, true, nil,
      { trust_domain = "td1" }),
  ["an alias means all of the mesh's names"] =
    field(from { principals = { "old/ns/other/sa/client" } }, { source = { principal = "td1/ns/other/sa/client" } },
      true,
      nil, { trust_domain = "td1", trust_domain_aliases = { "old" } }),
  ["the peer comes from the old domain"] =
    field(from { principals = { "td1/ns/other/sa/client" } }, { source = { principal = "old/ns/other/sa/client" } },
      true,
      nil, { trust_domain = "td1", trust_domain_aliases = { "old" } }),
  ["a domain that the mesh does not know stands for itself"] =
    field(from { principals = { "far/ns/other/sa/client" } }, { source = { principal = "td1/ns/other/sa/client" } },
      false,
      "source.principals", { trust_domain = "td1" }),
  ["aliases need the form of five parts"] =
    field(from { principals = { "cluster.local/ns/other*" } }, { source = { principal = "td1/ns/other/sa/client" } },
      false, "source.principals", { trust_domain = "td1" }),
  -- namespaces
  ["namespaces, exact"] = field(from { namespaces = { "other" } }, nil, true),
  ["namespaces, another"] = field(from { namespaces = { "othe" } }, nil, false, "source.namespaces"),
  ["namespaces, a wildcard anywhere"] = field(from { namespaces = { "o*e*" } }, nil, true),
  ["namespaces, suffix"] = field(from { namespaces = { "*er" } }, nil, true),
  ["namespaces, plaintext"] = field(from { namespaces = { "*" } }, { plain = true }, false, "source.namespaces"),
  ["notNamespaces, plaintext"] = field(from { notNamespaces = { "other" } }, { plain = true }, true),
  ["notNamespaces"] = field(from { notNamespaces = { "x", "other" } }, nil, false, "source.notNamespaces"),
  -- service accounts, trust domains
  ["serviceAccounts with a namespace"] = field(from { serviceAccounts = { "other/client" } }, nil, true),
  ["serviceAccounts of the policy's namespace"] =
    field(from { serviceAccounts = { "client" } }, nil, false, "source.serviceAccounts"),
  ["serviceAccounts of the policy's namespace, there"] =
    field(from { serviceAccounts = { "me" } }, { source = { principal = "any/ns/team/sa/me" } }, true),
  ["serviceAccounts, any trust domain"] =
    field(from { serviceAccounts = { "other/client" } }, { source = { principal = "far/ns/other/sa/client" } }, true),
  ["serviceAccounts, plaintext"] =
    field(from { serviceAccounts = { "other/client" } }, { plain = true }, false, "source.serviceAccounts"),
  ["notServiceAccounts, plaintext"] = field(from { notServiceAccounts = { "other/client" } }, { plain = true }, true),
  ["trustDomains"] = field(from { trustDomains = { "cluster.local" } }, nil, true),
  ["trustDomains, suffix"] = field(from { trustDomains = { "*.local" } }, nil, true),
  ["trustDomains, one of the mesh's names means all of them"] =
    field(from { trustDomains = { "old" } }, { source = { principal = "td1/ns/other/sa/client" } }, true, nil,
      { trust_domain = "td1", trust_domain_aliases = { "old" } }),
  ["trustDomains, a name that is not the mesh's"] =
    field(from { trustDomains = { "far" } }, { source = { principal = "td1/ns/other/sa/client" } }, false,
      "source.trustDomains", { trust_domain = "td1", trust_domain_aliases = { "old" } }),
  ["principals, a domain by its end stays so"] =
    field(from { principals = { "*1/ns/other/sa/client" } }, { source = { principal = "other1/ns/other/sa/client" } },
      true, nil, { trust_domain = "td1" }),
  ["principals, a domain by its end, another name of the mesh"] =
    field(from { principals = { "*1/ns/other/sa/client" } }, { source = { principal = "old/ns/other/sa/client" } },
      true, nil, { trust_domain = "td1", trust_domain_aliases = { "old" } }),
  ["trustDomains, another"] = field(from { trustDomains = { "far" } }, nil, false, "source.trustDomains"),
  ["notTrustDomains"] = field(from { notTrustDomains = { "cluster*" } }, nil, false, "source.notTrustDomains"),
  -- addresses
  ["ipBlocks, a block"] = field(from { ipBlocks = { "10.1.0.0/16" } }, nil, true),
  ["ipBlocks, an address"] = field(from { ipBlocks = { "10.1.2.3" } }, nil, true),
  ["ipBlocks, an odd length"] = field(from { ipBlocks = { "10.1.2.0/23" } }, nil, true),
  ["ipBlocks, another block"] = field(from { ipBlocks = { "10.2.0.0/16" } }, nil, false, "source.ipBlocks"),
  ["ipBlocks, everything"] = field(from { ipBlocks = { "0.0.0.0/0" } }, nil, true),
  ["ipBlocks, version 6"] = field(from { ipBlocks = { "fd00::/8" } }, { source = { ip = "fd12:3::1" } }, true),
  ["ipBlocks, the other version"] = field(from { ipBlocks = { "::/0" } }, nil, false, "source.ipBlocks"),
  ["notIpBlocks"] = field(from { notIpBlocks = { "10.0.0.0/8" } }, nil, false, "source.notIpBlocks"),
  ["remoteIpBlocks look at the caller behind proxies"] =
    field(from { remoteIpBlocks = { "1.2.3.0/24" } }, { source = { ip = "10.1.2.3", remote_ip = "1.2.3.4" } }, true),
  ["ipBlocks do not"] =
    field(from { ipBlocks = { "1.2.3.0/24" } }, { source = { ip = "10.1.2.3", remote_ip = "1.2.3.4" } }, false,
      "source.ipBlocks"),
  ["notRemoteIpBlocks"] =
    field(from { notRemoteIpBlocks = { "1.2.3.4" } }, { source = { remote_ip = "1.2.3.4" } }, false,
      "source.notRemoteIpBlocks"),
  -- operations
  ["hosts, whatever the letter case"] = field(to { hosts = { "WEB.team" } }, { host = "web.TEAM" }, true),
  ["hosts, the port belongs to it"] =
    field(to { hosts = { "web.team" } }, { host = "web.team:8080" }, false, "operation.hosts"),
  ["hosts, prefix for the port"] = field(to { hosts = { "web.team:*" } }, { host = "web.team:8080" }, true),
  ["hosts, suffix"] = field(to { hosts = { "*.team" } }, nil, true),
  ["notHosts"] = field(to { notHosts = { "web.team" } }, nil, false, "operation.notHosts"),
  ["ports"] = field(to { ports = { "8080" } }, nil, true),
  ["ports, another"] = field(to { ports = { "80" } }, nil, false, "operation.ports"),
  ["notPorts"] = field(to { notPorts = { "8080" } }, nil, false, "operation.notPorts"),
  ["methods"] = field(to { methods = { "PUT", "GET" } }, nil, true),
  ["methods, the letter case counts"] = field(to { methods = { "get" } }, nil, false, "operation.methods"),
  ["methods, prefix"] = field(to { methods = { "G*" } }, nil, true),
  ["methods, gRPC is POST"] = field(to { methods = { "POST" } }, { method = "POST", path = "/pkg.Service/Call" }, true),
  ["notMethods"] = field(to { notMethods = { "GET" } }, nil, false, "operation.notMethods"),
  ["paths, exact"] = field(to { paths = { "/a/b" } }, nil, true),
  ["paths, prefix"] = field(to { paths = { "/a/*" } }, nil, true),
  ["paths, prefix needs the slash"] = field(to { paths = { "/a/*" } }, { path = "/a" }, false, "operation.paths"),
  ["paths, suffix"] = field(to { paths = { "*/b" } }, nil, true),
  ["paths, any"] = field(to { paths = { "*" } }, nil, true),
  ["paths, without the query"] = field(to { paths = { "/a/b" } }, { path = "/a/b?x=/c" }, true),
  ["paths, a wildcard in the middle is a letter"] =
    field(to { paths = { "/a/*/c" } }, { path = "/a/b/c" }, false, "operation.paths"),
  ["paths, dots are resolved first"] = field(to { paths = { "/a/b" } }, { path = "/x/../a/./b" }, true),
  ["paths, dots are left where the mesh says so"] =
    field(to { paths = { "/a/b" } }, { path = "/x/../a/b" }, false, "operation.paths", { path_normalization = "NONE" }),
  ["paths, backslashes are slashes"] = field(to { paths = { "/a/b" } }, { path = "/a\\b" }, true),
  ["paths, double slashes stay"] = field(to { paths = { "/a/b" } }, { path = "/a//b" }, false, "operation.paths"),
  ["paths, double slashes are merged where the mesh says so"] =
    field(to { paths = { "/a/b" } }, { path = "/a//b" }, true, nil, { path_normalization = "MERGE_SLASHES" }),
  ["paths, an encoded slash where the mesh decodes it"] =
    field(to { paths = { "/a/b" } }, { path = "/a%2Fb" }, true, nil,
      { path_normalization = "DECODE_AND_MERGE_SLASHES" }),
  ["paths, an encoded letter"] = field(to { paths = { "/a/b" } }, { path = "/%61/b" }, true),
  ["paths, one segment"] = field(to { paths = { "/a/{*}" } }, nil, true),
  ["paths, one segment is not two"] =
    field(to { paths = { "/a/{*}" } }, { path = "/a/b/c" }, false, "operation.paths"),
  ["paths, one segment is not none"] = field(to { paths = { "/a/{*}" } }, { path = "/a/" }, false, "operation.paths"),
  ["paths, one segment in the middle"] = field(to { paths = { "/a/{*}/c" } }, { path = "/a/b/c" }, true),
  ["paths, the rest"] = field(to { paths = { "/a/{**}" } }, { path = "/a/b/c/d" }, true),
  ["paths, the rest after a segment"] = field(to { paths = { "/{*}/b/{**}" } }, { path = "/a/b/c/d" }, true),
  ["notPaths"] = field(to { notPaths = { "/a/*" } }, nil, false, "operation.notPaths"),
  ["notPaths with a template"] = field(to { notPaths = { "/a/{*}" } }, nil, false, "operation.notPaths"),
  -- conditions
  ["a header"] = field(when("request.headers[X-One]", { "1" }), nil, true),
  ["a header, the letter case of its value counts"] =
    field(when("request.headers[x-one]", { "A" }), { headers = { ["X-One"] = "a" } }, false,
      "when.request.headers[x-one]"),
  ["a header that is there"] = field(when("request.headers[x-one]", { "*" }), nil, true),
  ["a header that is empty is there"] =
    field(when("request.headers[x-one]", { "*" }), { headers = { ["x-one"] = "" } }, true),
  ["a header that must be absent, and is empty"] =
    field(when("request.headers[x-one]", nil, { "*" }), { headers = { ["x-one"] = "" } }, false,
      "when.request.headers[x-one]"),
  ["a header that must be absent, and is"] = field(when("request.headers[kubeflow-userid]", nil, { "*" }), nil, true),
  ["a header that must be absent, in other letters"] =
    field(when("request.headers[kubeflow-userid]", nil, { "*" }), { headers = { ["Kubeflow-UserID"] = "x" } }, false,
      "when.request.headers[kubeflow-userid]"),
  ["a header, prefix"] = field(when("request.headers[x-one]", { "ab*" }), { headers = { ["x-one"] = "abc" } }, true),
  ["source.ip"] = field(when("source.ip", { "10.1.0.0/16" }), nil, true),
  ["remote.ip"] = field(when("remote.ip", { "1.2.3.4" }), { source = { ip = "10.1.2.3", remote_ip = "1.2.3.4" } },
    true),
  ["source.namespace"] = field(when("source.namespace", { "other" }), nil, true),
  ["source.namespace, plaintext"] =
    field(when("source.namespace", { "other" }), { plain = true }, false, "when.source.namespace"),
  ["source.namespace not, plaintext"] = field(when("source.namespace", nil, { "other" }), { plain = true }, true),
  ["source.principal"] = field(when("source.principal", { PEER }), nil, true),
  ["source.serviceAccount"] = field(when("source.serviceAccount", { "other/client" }), nil, true),
  ["source.trustDomain"] = field(when("source.trustDomain", { "cluster.local" }), nil, true),
  ["destination.ip"] = field(when("destination.ip", { "10.9.0.0/16" }), { destination_ip = "10.9.1.1" }, true),
  ["destination.port"] = field(when("destination.port", { "8080" }), nil, true),
  ["destination.port, another"] = field(when("destination.port", nil, { "8080" }), nil, false, "when.destination.port"),
  ["connection.sni"] = field(when("connection.sni", { "*.team" }), { sni = "web.team" }, true),
  ["connection.sni, none"] = field(when("connection.sni", { "*" }), nil, false, "when.connection.sni"),
  ["a filter's own attribute"] =
    field(when("experimental.envoy.filters.network.mysql_proxy[db.t]", { "[select]" }),
      { attributes = { ["experimental.envoy.filters.network.mysql_proxy[db.t]"] = "[select]" } }, true),
  ["a filter's own attribute, a member of a list"] =
    field(when("experimental.envoy.filters.network.mysql_proxy[db.t]", { "[sel*]" }),
      { attributes = { ["experimental.envoy.filters.network.mysql_proxy[db.t]"] = { "insert", "select" } } }, true),
  ["a key that nobody knows loses the rule"] = field(when("request.moon", nil, { "x" }), nil, false,
    "when.request.moon"),
  ["a key that nobody knows loses a DENY, too"] = { { deny(when("request.moon", nil, { "x" })) }, nil, "yes allow" },
  -- tokens
  ["requestPrincipals, exact"] = token(from { requestPrincipals = { "https://issuer/alice" } }, true),
  ["requestPrincipals, any"] = token(from { requestPrincipals = { "*" } }, true),
  ["requestPrincipals, all of an issuer"] = token(from { requestPrincipals = { "https://issuer/*" } }, true),
  ["requestPrincipals, all of another issuer"] =
    token(from { requestPrincipals = { "https://other/*" } }, false, "source.requestPrincipals"),
  ["requestPrincipals, the issuer is not a part of one"] =
    token(from { requestPrincipals = { "https:/*" } }, false, "source.requestPrincipals"),
  ["requestPrincipals, issuers by their beginning"] = token(from { requestPrincipals = { "https*" } }, true),
  ["requestPrincipals, a subject by its beginning"] =
    token(from { requestPrincipals = { "https://issuer/al*" } }, true),
  ["requestPrincipals, a subject by its end"] = token(from { requestPrincipals = { "*ice" } }, true),
  ["requestPrincipals, a star in the middle is a star"] =
    token(from { requestPrincipals = { "https://iss*/alice" } }, false, "source.requestPrincipals"),
  ["request.auth.claims, a number is no text"] =
    token(when("request.auth.claims[level]", { "5" }), false, "when.request.auth.claims[level]",
      { claims = claims { level = 5 } }),
  ["requestPrincipals, the subject of any issuer"] = token(from { requestPrincipals = { "*/alice" } }, true),
  ["requestPrincipals without a token"] = {
    { allow(from { requestPrincipals = { "*" } }), request_authentication("r", { RULE }) }, nil,
    NO .. "source.requestPrincipals",
  },
  ["notRequestPrincipals without a token"] = {
    { deny(from { notRequestPrincipals = { "*" } }), request_authentication("r", { RULE }) }, nil, "no deny team/p 1",
  },
  ["notRequestPrincipals with a token"] = {
    { deny(from { notRequestPrincipals = { "*" } }), request_authentication("r", { RULE }) }, { claims = claims() },
    "yes allow",
  },
  ["a token that nobody verifies is none"] = {
    { allow(from { requestPrincipals = { "*" } }) }, { claims = claims() }, NO .. "source.requestPrincipals",
  },
  ["request.auth.principal"] = token(when("request.auth.principal", { "https://issuer/alice" }), true),
  ["request.auth.audiences"] = token(when("request.auth.audiences", { "kfp" }), true),
  ["request.auth.audiences, another"] =
    token(when("request.auth.audiences", { "nobody" }), false, "when.request.auth.audiences"),
  ["request.auth.audiences, one text"] =
    token(when("request.auth.audiences", { "kfp" }), true, nil, { claims = claims { aud = "kfp" } }),
  ["request.auth.presenter"] = token(when("request.auth.presenter", { "presenter" }), true),
  ["request.auth.claims, a text"] = token(when("request.auth.claims[email]", { "*@b" }), true),
  ["request.auth.claims, a member of a list"] = token(when("request.auth.claims[groups]", { "ops" }), true),
  ["request.auth.claims, no member"] =
    token(when("request.auth.claims[groups]", { "root" }), false, "when.request.auth.claims[groups]"),
  ["request.auth.claims, nested"] = token(when("request.auth.claims[nested][deep]", { "v" }), true),
  ["request.auth.claims, not there"] = token(when("request.auth.claims[none]", nil, { "*" }), true),
  ["request.auth.claims, the words of a scope"] = token(when("request.auth.claims[scope]", { "write" }), true),
  ["request.auth.claims, words where the rule says so"] =
    token(when("request.auth.claims[roles]", { "b" }), true, nil, { claims = claims { roles = "a b" } },
      { issuer = "https://issuer", spaceDelimitedClaims = { "roles" } }),
  ["request.auth.claims, no words elsewhere"] =
    token(when("request.auth.claims[roles]", { "b" }), false, "when.request.auth.claims[roles]",
      { claims = claims { roles = "a b" } }),
  -- RequestAuthentication
  ["a missing token passes"] = { { request_authentication("r", { RULE }) }, nil, "yes allow" },
  ["an invalid token does not"] = {
    { request_authentication("r", { RULE }) }, { token = "invalid" }, "no jwt team/r token",
  },
  ["an invalid token where nobody looks"] = { {}, { token = "invalid" }, "yes allow" },
  ["a token of an unknown issuer"] = {
    { request_authentication("r", { { issuer = "https://other" } }) }, { claims = claims() },
    "no jwt team/r jwtRules.issuer",
  },
  ["a token for other audiences"] = {
    { request_authentication("r", { { issuer = "https://issuer", audiences = { "b" } } }) }, { claims = claims() },
    "no jwt team/r jwtRules.audiences",
  },
  ["the second rule takes the token"] = {
    { request_authentication("r", { { issuer = "https://other" }, RULE }) }, { claims = claims() }, "yes allow",
  },
  ["policies of the namespace and the root are merged"] = {
    { request_authentication("r", { { issuer = "https://other" } }),
      request_authentication("istio-system/s", { RULE }) }, { claims = claims() }, "yes allow",
  },
  ["a policy that selects another workload"] = {
    { request_authentication("r", { { issuer = "https://other" } }, { app = "x" }) }, { claims = claims() },
      "yes allow",
  },
  ["a preflight needs no token"] = {
    { request_authentication("r", { RULE }) }, { token = "invalid", method = "OPTIONS",
      headers = { origin = "x", ["access-control-request-method"] = "GET" } }, "yes allow",
  },
  ["a token in a header of its own"] = {
    { request_authentication("r", { { issuer = "https://other", fromHeaders = { { name = "x-token" } } } }) },
    { claims = claims() }, "yes allow",
  },
  ["a claim becomes a header"] = {
    { allow(when("request.headers[kubeflow-userid]", { "a@b" })), request_authentication("r",
      { { issuer = "https://issuer",
      outputClaimToHeaders = { { header = "kubeflow-userid", claim = "email" } } } }) }, { claims = claims() }, YES,
  },
  ["a header that a rule writes cannot be forged"] = {
    { allow(when("request.headers[kubeflow-userid]", { "boss" })), request_authentication("r",
      { { issuer = "https://issuer",
      outputClaimToHeaders = { { header = "kubeflow-userid", claim = "email" } } } }) },
    { headers = { ["kubeflow-userid"] = "boss" } }, NO .. "when.request.headers[kubeflow-userid]",
  },
  -- mTLS
  ["nothing said: plaintext passes"] = { {}, { plain = true }, "yes allow" },
  ["STRICT in the mesh"] = {
    { peer_authentication("istio-system/default", "STRICT") }, { plain = true },
      "no mtls istio-system/default mtls.mode",
  },
  ["STRICT with an identity"] = { { peer_authentication("istio-system/default", "STRICT") }, nil, "yes allow" },
  ["the namespace beats the mesh"] = {
    { peer_authentication("istio-system/default", "STRICT"), peer_authentication("n", "PERMISSIVE") }, { plain = true },
    "yes allow",
  },
  ["the workload beats the namespace"] = {
    { peer_authentication("n", "PERMISSIVE"), peer_authentication("w", "STRICT", { app = "web" }) }, { plain = true },
    "no mtls team/w mtls.mode",
  },
  ["a selector in the root namespace has no effect"] = {
    { peer_authentication("istio-system/w", "STRICT", { app = "web" }) }, { plain = true }, "yes allow",
  },
  ["UNSET inherits"] = {
    { peer_authentication("istio-system/default", "STRICT"), peer_authentication("n", "UNSET") }, { plain = true },
    "no mtls istio-system/default mtls.mode",
  },
  ["nothing set inherits"] = {
    { peer_authentication("istio-system/default", "STRICT"), peer_authentication("w", nil, { app = "web" }) },
    { plain = true }, "no mtls istio-system/default mtls.mode",
  },
  ["the oldest of two wins"] = {
    { peer_authentication("b", "STRICT", nil, nil, "2026-01-02T00:00:00Z"),
      peer_authentication("a", "PERMISSIVE", nil, nil, "2026-01-03T00:00:00Z") }, { plain = true },
    "no mtls team/b mtls.mode",
  },
  ["DISABLE takes plaintext"] = { { peer_authentication("n", "DISABLE") }, { plain = true }, "yes allow" },
  ["DISABLE takes no mTLS"] = { { peer_authentication("n", "DISABLE") }, nil, "no mtls team/n mtls.mode" },
  ["a port of its own"] = {
    { peer_authentication("w", "STRICT", { app = "web" }, { ["8080"] = { mode = "PERMISSIVE" } }) }, { plain = true },
    "yes allow",
  },
  ["a strict port"] = {
    { peer_authentication("w", "PERMISSIVE", { app = "web" }, { ["8080"] = { mode = "STRICT" } }) }, { plain = true },
    "no mtls team/w portLevelMtls[8080].mode",
  },
  ["an UNSET port inherits the workload's"] = {
    { peer_authentication("w", "STRICT", { app = "web" }, { ["8080"] = { mode = "UNSET" } }) }, { plain = true },
    "no mtls team/w mtls.mode",
  },
  ["ports of a namespace's policy have no effect"] = {
    { peer_authentication("n", "PERMISSIVE", nil, { ["8080"] = { mode = "STRICT" } }) }, { plain = true }, "yes allow",
  },
  ["mTLS is checked before all else"] = {
    { peer_authentication("n", "STRICT"), deny {} }, { plain = true }, "no mtls team/n mtls.mode",
  },
  -- TCP
  ["ALLOW by identity on a TCP port"] = { { allow(from { principals = { PEER } }) }, { port = 5432 }, YES },
  ["ALLOW with a path on a TCP port: the rule is lost"] = {
    { allow(to { paths = { "*" }, ports = { "5432" } }) }, { port = 5432 }, NO .. "operation.paths",
  },
  ["ALLOW with a header on a TCP port"] = {
    { allow(when("request.headers[x]", nil, { "*" })) }, { port = 5432 }, NO .. "when.request.headers[x]",
  },
  ["ALLOW with a token on a TCP port"] = {
    { allow(from { notRequestPrincipals = { "*" } }) }, { port = 5432 }, NO .. "source.notRequestPrincipals",
  },
  ["DENY with a path on a TCP port becomes wider"] = {
    { deny(to { paths = { "/x" }, ports = { "5432" } }) }, { port = 5432 }, "no deny team/p 1",
  },
  ["DENY of a path alone denies all of a TCP port"] = {
    { deny(to { paths = { "/x" } }) }, { port = 5432 }, "no deny team/p 1",
  },
  ["DENY with a header on a TCP port"] = {
    { deny { from = from({ namespaces = { "other" } }).from, when = when("request.headers[x]", { "1" }).when } },
    { port = 5432 }, "no deny team/p 1",
  },
  ["DENY keeps what TCP has"] = {
    { deny(to { paths = { "/x" }, ports = { "1" } }) }, { port = 5432 }, "yes allow",
  },
  ["the request says that it is TCP"] = {
    { deny(to { methods = { "PUT" } }) }, { protocol = "tcp" }, "no deny team/p 1",
  },
  ["a port of a pod says by its name what it speaks"] = {
    { deny(to { paths = { "/x" } }) }, { port = 3306 }, "no deny team/p 1",
    workload = { ports = { { containerPort = 80, name = "http" }, { containerPort = 3306, name = "mysql-db" } } },
  },
  ["a port of a pod with a protocol of layer 4 only"] = {
    { deny(to { paths = { "/x" } }) }, { port = 3306 }, "yes allow",
    workload = { ports = { { containerPort = 3306, protocol = "TCP" } } },
  },
  ["a port of a service says by appProtocol what it speaks"] = {
    { deny(to { paths = { "/x" } }) }, { port = 80 }, "no deny team/p 1",
    workload = { ports = { { port = 80, name = "http", appProtocol = "tcp" } } },
  },
  ["tokens mean nothing on a TCP port"] = {
    { request_authentication("r", { RULE }) }, { token = "invalid", port = 5432 }, "yes allow",
  },
  -- the node proxy of an ambient mesh
  ["ztunnel: identity"] = { { allow(from { principals = { PEER } }) }, nil, YES, workload = { ztunnel = true } },
  ["ztunnel: ALLOW with a path is lost"] = {
    { allow(to { paths = { "*" } }) }, nil, NO .. "operation.paths", workload = { ztunnel = true },
  },
  ["ztunnel: DENY of a path alone has no effect"] = {
    { deny(to { paths = { "*" } }) }, nil, "yes allow", workload = { ztunnel = true },
  },
  ["ztunnel: DENY keeps what is below HTTP"] = {
    { deny(to { paths = { "/x" }, ports = { "8080" } }) }, nil, "no deny team/p 1", workload = { ztunnel = true },
  },
  ["ztunnel: an empty rule matches all"] = { { deny {} }, nil, "no deny team/p 1", workload = { ztunnel = true } },
  ["ztunnel: a key that it does not know, in ALLOW"] = {
    { allow(when("connection.sni", nil, { "x" })) }, nil, NO .. "when.connection.sni", workload = { ztunnel = true },
  },
  ["ztunnel: a key that it does not know, alone in DENY"] = {
    { deny(when("connection.sni", nil, { "x" })) }, nil, "yes allow", workload = { ztunnel = true },
  },
  ["ztunnel: CUSTOM is not asked"] = {
    { policy("c", "CUSTOM", { {} }, { provider = { name = "o" } }) }, nil, "yes allow", workload = { ztunnel = true },
  },
}

for name, case in pairs(CASES) do
  test(name, function() test.equal(answer(case), case[3]) end)
end

test("there are at least 150 cases", function()
  local count = 0
  for _ in pairs(CASES) do count = count + 1 end
  assert(count >= 150, count)
end)
