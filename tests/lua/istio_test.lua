-- Istio without a mesh: injection, validation, analysis, the client's side, builders; with what a Kubeflow installs.
local fs = require "fs"
local istio = require "istio"
local json = require "json"
local test = require "test"
local yaml = require "yaml"

local FOLDER = "tests/fixtures/kubeflow-manifests/"

local function manifests(name, namespace)
  local objects = {}
  for _, object in ipairs(yaml.decode_all(fs.read(FOLDER .. name .. ".yaml"))) do
    object.metadata.namespace = object.metadata.namespace or namespace
    objects[#objects + 1] = object
  end
  return objects
end

-- --- injection ---------------------------------------------------------------------------------------------

local function pod(labels, annotations, spec)
  return { metadata = { labels = labels, annotations = annotations }, spec = spec or {} }
end

local INJECT, ENABLED = "sidecar.istio.io/inject", { ["istio-injection"] = "enabled" }

-- namespace labels, pod labels, pod annotations, whether it is injected, what the reason says, config, spec
local INJECTION = {
  { {}, {}, nil, false, "neither" }, { {}, { [INJECT] = "true" }, nil, true, "label says true" },
  { {}, { [INJECT] = "false" }, nil, false, "label sidecar.istio.io/inject says false" },
  { {}, {}, { [INJECT] = "true" }, false, "neither" }, { {}, { [INJECT] = "true" }, { [INJECT] = "false" }, true,
    "label" },
  { ENABLED, {}, nil, true, "enabled" }, { ENABLED, { [INJECT] = "true" }, nil, true, "label" },
  { ENABLED, { [INJECT] = "false" }, nil, false, "label" },
  { ENABLED, { [INJECT] = "false" }, { [INJECT] = "true" }, false, "label" },
  { ENABLED, {}, { [INJECT] = "false" }, false, "annotation says false" },
  { ENABLED, {}, { [INJECT] = "true" }, true, "annotation says true" },
  { ENABLED, {}, { [INJECT] = "yes" }, true, "means nothing" },
  { { ["istio-injection"] = "disabled" }, { [INJECT] = "true" }, nil, false, "disabled" },
  { { ["istio.io/rev"] = "default" }, {}, nil, true, "rev.namespace" },
  { { ["istio.io/rev"] = "canary" }, {}, nil, false, "revision canary" },
  { { ["istio.io/rev"] = "canary" }, {}, nil, true, "rev.namespace", { revision = "canary" } },
  { ENABLED, {}, nil, false, "neither", { revision = "canary" } },
  { { ["istio-injection"] = "enabled", ["istio.io/rev"] = "canary" }, {}, nil, true, "webhook namespace" },
  { {}, { ["istio.io/rev"] = "default" }, nil, true, "rev.object" },
  { {}, { ["istio.io/rev"] = "canary" }, nil, false, "pod asks for revision canary" },
  { { ["istio.io/rev"] = "default" }, { ["istio.io/rev"] = "canary" }, nil, true, "rev.namespace" },
  { {}, {}, nil, true, "auto", { enable_namespaces_by_default = true } },
  { ENABLED, {}, nil, false, "host's network", nil, { hostNetwork = true } },
  { ENABLED, {}, nil, false, "disabled", { policy = "disabled" } },
  { ENABLED, { [INJECT] = "true" }, nil, true, "label", { policy = "disabled" } },
  { ENABLED, { job = "x" }, nil, false, "neverInjectSelector",
    { neverInjectSelector = { { matchLabels = { job = "x" } } } } },
  { ENABLED, { job = "x" }, nil, false, "neverInjectSelector",
    { neverInjectSelector = { { matchExpressions = { { key = "job", operator = "Exists" } } } } } },
  { ENABLED, { job = "x", [INJECT] = "true" }, nil, true, "label",
    { neverInjectSelector = { { matchLabels = { job = "x" } } } } },
  { ENABLED, { job = "x" }, nil, true, "alwaysInjectSelector",
    { policy = "disabled", alwaysInjectSelector = { { matchLabels = { job = "x" } } } } },
  { ENABLED, {}, nil, false, "ignored", { ignored_namespaces = { "team" } } },
  { ENABLED, { [INJECT] = "true" }, nil, false, "is none", { policy = "sometimes" } },
}

local WEBHOOKS = manifests("istio-sidecar-injector-webhook")[1]

test("injection is decided by the webhooks, then by the injector", function()
  for i, case in ipairs(INJECTION) do
    local namespace = { metadata = { name = "team", labels = case[1] } }
    local yes, why = istio.would_inject(namespace, pod(case[2], case[3], case[7]), case[6])
    test.same({ i, yes }, { i, case[4] })
    assert(why:find(case[5], 1, true), ("case %d: %s"):format(i, why))
  end
end)

test("the real webhook configuration decides the same", function()
  for i, case in ipairs(INJECTION) do
    if not (case[6] or {}).revision and not (case[6] or {}).enable_namespaces_by_default then
      local config = { webhooks = WEBHOOKS }
      for key, value in pairs(case[6] or {}) do config[key] = value end
      local namespace = { metadata = { name = "team", labels = case[1] } }
      test.same({ i, (istio.would_inject(namespace, pod(case[2], case[3], case[7]), config)) }, { i, case[4] })
    end
  end
end)

test("kube-system is never injected", function()
  test.equal((istio.would_inject({ name = "kube-system", labels = ENABLED }, pod())), false)
end)

-- --- what a Kubeflow installs ---------------------------------------------------------------------------------

local KUBEFLOW = {}
for _, name in ipairs { "pipelines-istio", "profiles-istio", "katib-istio", "istio-deny-all", "gateway-dex-jwt",
  "gateway-oauth2-proxy", "gateway-require-jwt", "istio-sidecar-prune-egress" } do
  for _, object in ipairs(manifests(name, "kubeflow")) do KUBEFLOW[#KUBEFLOW + 1] = object end
end

local PIPELINE = { namespace = "kubeflow", labels = { app = "ml-pipeline" }, ports = { [8888] = "http" } }

local function call(source, headers)
  local ok, why = istio.allowed(KUBEFLOW, PIPELINE, {
    source = source, method = "GET", path = "/apis/v2beta1/pipelines", port = 8888, headers = headers or {},
  })
  return ("%s %s %s %s"):format(ok, why.stage, why.policy, why.field or why.rule)
end

test("a pod without a sidecar may call KFP, as long as it names no user", function()
  test.equal(call {}, "true allow kubeflow/ml-pipeline 2")
  test.equal(call({}, { ["Kubeflow-UserID"] = "boss" }), "false allow kubeflow/ml-pipeline source.principals")
end)

test("a pod of a profile may not name a user either, KFP's own user interface may", function()
  local editor = { principal = "cluster.local/ns/team/sa/default-editor" }
  test.equal(call(editor, { ["kubeflow-userid"] = "x" }), "false allow kubeflow/ml-pipeline source.principals")
  test.equal(call({ principal = "cluster.local/ns/kubeflow/sa/ml-pipeline-ui" }, { ["kubeflow-userid"] = "x" }),
    "true allow kubeflow/ml-pipeline 1")
end)

local GATEWAY = { namespace = "istio-system", labels = { app = "istio-ingressgateway" } }

test("the gateway asks the authenticator, verifies tokens, and needs one", function()
  local dex = { iss = "http://dex.auth.svc.cluster.local:5556/dex", sub = "1", email = "a@b" }
  local ok, why = istio.allowed(KUBEFLOW, GATEWAY, { method = "GET", path = "/pipeline/", headers = {} })
  test.same({ tostring(ok), why.stage, why.policy, why.provider },
    { "nil", "custom", "istio-system/istio-ingressgateway-oauth2-proxy", "oauth2-proxy" })
  ok, why = istio.allowed(KUBEFLOW, GATEWAY, { method = "GET", path = "/pipeline/",
    headers = { authorization = "Bearer x" }, claims = { iss = "https://kubernetes", sub = "s" } })
  test.same({ ok, why.stage, why.status }, { false, "jwt", 401 })
  ok, why = istio.allowed(KUBEFLOW, GATEWAY, { method = "GET", path = "/pipeline/",
    headers = { authorization = "Bearer x" }, claims = dex })
  test.same({ ok, why.stage, why.policy }, { false, "allow", "istio-system/global-deny-all" })
  local open = istio.build.allow("istio-system", "open", {}, GATEWAY.labels)
  ok = istio.allowed({ open, table.unpack(KUBEFLOW) }, GATEWAY, { method = "GET", path = "/pipeline/",
    headers = { authorization = "Bearer x" }, claims = dex })
  test.equal(ok, true)
end)

test("a profile's policy admits its owner, itself, health checks and the notebook controller", function()
  local policy = istio.build.profile_policy { name = "team", owner = "alice" }
  local web = { namespace = "team", labels = { app = "nb" } }
  local function try(source, path, headers)
    return (istio.allowed({ policy }, web, { source = source, method = "GET", path = path, headers = headers or {} }))
  end
  local gateway = { principal = istio.build.principal("istio-system", "istio-ingressgateway-service-account") }
  test.same({
    try(gateway, "/x", { ["kubeflow-userid"] = "alice" }), try(gateway, "/x", { ["kubeflow-userid"] = "bob" }),
    try({}, "/x"), try({}, "/healthz"), try({ principal = istio.build.principal("team", "default-editor") }, "/x"),
    try({ principal = istio.build.principal("kubeflow", "notebook-controller-service-account") }, "/n/api/kernels"),
    try({ principal = istio.build.principal("evil", "default-editor") }, "/x", { ["kubeflow-userid"] = "alice" }),
  }, { true, false, false, true, true, true, false })
end)

test("what is built is valid", function()
  local build = istio.build
  for _, object in ipairs {
    build.allow("a", "b", { principals = { "x" }, paths = { "/y" }, forbid_header = "kubeflow-userid" }, { app = "z" }),
    build.deny_all "a", build.peer_authentication("a", "STRICT"),
    build.peer_authentication("a", "STRICT", { app = "z" }, { [80] = "DISABLE" }),
    build.destination_rule("a", "web.a.svc.cluster.local", "ISTIO_MUTUAL"), build.sidecar("a", { "./*", "kubeflow/*" }),
    build.profile_policy { name = "a", owner = "b" },
  } do
    for _, finding in ipairs(istio.validate(object)) do error(json.encode { object, finding }) end
  end
end)

test("what Kubeflow installs is valid", function()
  for _, object in ipairs(KUBEFLOW) do
    for _, finding in ipairs(istio.validate(object)) do
      test.same({ object.metadata.name, finding.severity, finding.path },
        { "istio-ingressgateway-require-jwt", "warning", "spec.rules[0]" })
    end
  end
end)

-- --- the client's side ------------------------------------------------------------------------------------------

local function sends(objects, client, server)
  local target = { namespace = "team", host = "web", port = 80, labels = { ["security.istio.io/tlsMode"] = "istio" } }
  for key, value in pairs(server or {}) do target[key] = value end
  local from = { namespace = "other", sidecar = true }
  for key, value in pairs(client or {}) do from[key] = value end
  return (istio.client(objects, from, target))
end

test("a client's proxy chooses by rule, label and mode", function()
  local function rule(mode, namespace, host, port)
    return { apiVersion = "networking.istio.io/v1", kind = "DestinationRule",
      metadata = { name = "d", namespace = namespace or "team" }, spec = { host = host or "web", trafficPolicy = {
        tls = not port and { mode = mode } or nil,
        portLevelSettings = port and { { port = { number = port }, tls = { mode = mode } } } or nil,
      } } }
  end
  local disabled = istio.build.peer_authentication("team", "DISABLE")
  test.equal(sends {}, "mtls")
  test.equal(sends({}, { sidecar = false }), "plaintext")
  test.equal(sends({}, nil, { labels = {} }), "plaintext")
  test.equal(sends { disabled }, "plaintext")
  test.equal(sends { disabled, rule "ISTIO_MUTUAL" }, "mtls")
  test.equal(sends { rule "DISABLE" }, "plaintext")
  test.equal(sends { rule "SIMPLE" }, "tls")
  test.equal(sends { rule("DISABLE", "team", "web.team.svc.cluster.local", 80) }, "plaintext")
  test.equal(sends { rule("DISABLE", "team", "web", 81) }, "mtls")
  test.equal(sends { rule "DISABLE", rule("ISTIO_MUTUAL", "other", "web.team.svc.cluster.local") }, "mtls")
end)

test("a host that the client's Sidecar leaves out is passed through without identity", function()
  local prune = manifests("istio-sidecar-prune-egress")[1]
  test.equal(sends({ prune }, nil, { namespace = "team" }), "plaintext")
  test.equal(sends({ prune }, { namespace = "team" }), "mtls")
  test.equal(sends({ prune }, nil, { namespace = "kubeflow" }), "mtls")
end)

-- --- validation ----------------------------------------------------------------------------------------------------

local function object(kind, spec)
  local group = kind:find "Auth" and "security" or "networking"
  return { apiVersion = group .. ".istio.io/v1", kind = kind, metadata = { name = "x", namespace = "team" },
    spec = spec }
end

local function rules(rule, action)
  return object("AuthorizationPolicy", { action = action, rules = { rule },
    provider = action == "CUSTOM" and { name = "o" } })
end

local function source(fields, action) return rules({ from = { { source = fields } } }, action) end
local function operation(fields) return rules { to = { { operation = fields } } } end
local function condition(entry, action) return rules({ when = { entry } }, action) end
local function jwt(rule) return object("RequestAuthentication", { jwtRules = { rule } }) end
local function egress(list) return object("Sidecar", { egress = list }) end
local function tls(fields) return object("DestinationRule", { host = "web", trafficPolicy = { tls = fields } }) end

-- object, path of the error, a piece of its message
local INVALID = {
  { object("AuthorizationPolicy", { selector = {}, targetRefs = { { name = "x" } } }), "spec", "only one of" },
  { object("AuthorizationPolicy", { selector = { matchLabels = { [""] = "x" } } }), "spec.selector.matchLabels",
    "empty" },
  { object("AuthorizationPolicy", { selector = { matchLabels = { a = "x*" } } }), "spec.selector.matchLabels",
    "wildcard" },
  { object("AuthorizationPolicy", { action = "MAYBE" }), "spec.action", "MAYBE" },
  { object("AuthorizationPolicy", { action = "DENY" }), "spec.rules", "DENY" },
  { object("AuthorizationPolicy", { action = "CUSTOM", rules = { {} } }), "spec.provider.name", "empty" },
  { object("AuthorizationPolicy", { action = "CUSTOM", provider = { name = "x" } }), "spec.rules", "CUSTOM" },
  { object("AuthorizationPolicy", { provider = { name = "x" } }), "spec.provider", "must not be set" },
  { rules { from = json.array {} }, "spec.rules[0].from", "at least one" },
  { rules { from = { {} } }, "spec.rules[0].from[0].source", "nil" },
  { source {}, "spec.rules[0].from[0].source", "at least one field" },
  { source { principals = json.array {} }, "spec.rules[0].from[0].source.principals", "empty" },
  { source { principals = { "" } }, "spec.rules[0].from[0].source.principals[0]", "empty" },
  { source { ipBlocks = { "10.0.0.300" } }, "spec.rules[0].from[0].source.ipBlocks[0]", "invalid" },
  { source { ipBlocks = { "10.0.0.0/33" } }, "spec.rules[0].from[0].source.ipBlocks[0]", "invalid" },
  { source { serviceAccounts = { "a" }, namespaces = { "b" } }, "spec.rules[0].from[0].source", "serviceAccounts" },
  { source { serviceAccounts = { "a/b/c" } }, "spec.rules[0].from[0].source.serviceAccounts[0]", "neither" },
  { source { serviceAccounts = { "a*" } }, "spec.rules[0].from[0].source.serviceAccounts[0]", "wildcard" },
  { source { trustDomains = { "a*b" } }, "spec.rules[0].from[0].source.trustDomains[0]", "wildcard" },
  { source({ principals = { "a" } }, "CUSTOM"), "spec.rules[0].from[0].source.principals", "CUSTOM" },
  { source({ notRequestPrincipals = { "a" } }, "CUSTOM"), "spec.rules[0].from[0].source.notRequestPrincipals",
    "CUSTOM" },
  { operation {}, "spec.rules[0].to[0].operation", "at least one field" },
  { operation { ports = { "http" } }, "spec.rules[0].to[0].operation.ports[0]", "range" },
  { operation { ports = { "70000" } }, "spec.rules[0].to[0].operation.ports[0]", "range" },
  { operation { paths = { "/{**}/{*}" } }, "spec.rules[0].to[0].operation.paths[0]", "last" },
  { operation { paths = { "/a{*}" } }, "spec.rules[0].to[0].operation.paths[0]", "literal" },
  { operation { paths = { "/{*}/b*" } }, "spec.rules[0].to[0].operation.paths[0]", "literal" },
  { condition { key = "request.moon", values = { "x" } }, "spec.rules[0].when[0].key", "unknown" },
  { condition { key = "source.ip" }, "spec.rules[0].when[0]", "at least one" },
  { condition { key = "source.ip", values = { "x" } }, "spec.rules[0].when[0].values[0]", "invalid" },
  { condition { key = "destination.port", notValues = { "0" } }, "spec.rules[0].when[0].notValues[0]", "range" },
  { condition({ key = "request.auth.claims[a]", values = { "x" } }, "CUSTOM"), "spec.rules[0].when[0].key", "CUSTOM" },
  { object("PeerAuthentication", { mtls = { mode = "ON" } }), "spec.mtls.mode", "ON" },
  { object("PeerAuthentication", { portLevelMtls = { ["80"] = { mode = "STRICT" } } }), "spec.portLevelMtls",
    "selector" },
  { object("PeerAuthentication", { selector = { matchLabels = { a = "b" } }, portLevelMtls = {} }),
    "spec.portLevelMtls",
    "at least one" },
  { object("PeerAuthentication", { selector = { matchLabels = { a = "b" } }, portLevelMtls = { ["0"] = {} } }),
    "spec.portLevelMtls[0]", "range" },
  { jwt {}, "spec.jwtRules[0].issuer", "issuer" },
  { jwt { issuer = "a", jwks = "{}", jwksUri = "https://a" }, "spec.jwtRules[0]", "only one" },
  { jwt { issuer = "a", jwksUri = "ftp://a" }, "spec.jwtRules[0].jwksUri", "scheme" },
  { jwt { issuer = "a", jwks = "{" }, "spec.jwtRules[0].jwks", "parse" },
  { jwt { issuer = "a", audiences = { "" } }, "spec.jwtRules[0].audiences[0]", "non-empty" },
  { jwt { issuer = "a", fromHeaders = { { prefix = "x" } } }, "spec.jwtRules[0].fromHeaders[0].name", "non-empty" },
  { jwt { issuer = "a", fromCookies = { "" } }, "spec.jwtRules[0].fromCookies[0]", "non-empty" },
  { jwt { issuer = "a", outputClaimToHeaders = { { header = "x" } } }, "spec.jwtRules[0].outputClaimToHeaders[0]",
    "claim" },
  { jwt { issuer = "a", outputClaimToHeaders = { { header = "x y", claim = "c" } } },
    "spec.jwtRules[0].outputClaimToHeaders[0].header", "header name" },
  { egress { { hosts = { "web" } } }, "spec.egress[0].hosts[0]", "NAMESPACE" },
  { egress { { hosts = { "~/web" } } }, "spec.egress[0].hosts[0]", "~" },
  { egress { { hosts = { "./a_b-" } } }, "spec.egress[0].hosts[0]", "name of a host" },
  { egress { { hosts = { "./*" } }, { hosts = { "./*" } } }, "spec.egress[1]", "no port" },
  { egress { { hosts = { "./*" } }, { port = { number = 80 }, hosts = { "./*" } } }, "spec.egress", "last" },
  { egress { { port = { number = 80 } } }, "spec.egress[0].hosts", "needs a host" },
  { object("Sidecar", { ingress = { { port = { number = 0 } } } }), "spec.ingress[0].port.number", "range" },
  { object("EnvoyFilter", { configPatches = { {} } }), "spec.configPatches[0].applyTo", "missing" },
  { object("EnvoyFilter", { configPatches = { { applyTo = "CLUSTER" } } }), "spec.configPatches[0].patch", "missing" },
  { object("EnvoyFilter", { configPatches = { { applyTo = "CLUSTER", patch = { operation = "MERGE" } } } }),
    "spec.configPatches[0].patch.value", "missing" },
  { object("EnvoyFilter", { configPatches = { { applyTo = "CLUSTER", match = { listener = {} },
    patch = { operation = "REMOVE" } } } }), "spec.configPatches[0].match.listener", "CLUSTER" },
  { object("EnvoyFilter", { configPatches = { { applyTo = "CLUSTER", match = { proxy = { proxyVersion = "(" } },
    patch = { operation = "REMOVE" } } } }), "spec.configPatches[0].match.proxy.proxyVersion", "regex" },
  { tls { mode = "MUTUAL", clientCertificate = "a" }, "spec.trafficPolicy.tls", "private key" },
  { tls { mode = "ISTIO_MUTUAL", privateKey = "a" }, "spec.trafficPolicy.tls.privateKey", "ISTIO_MUTUAL" },
  { tls { mode = "SIMPLE", credentialName = "a", caCertificates = "b" }, "spec.trafficPolicy.tls", "same time" },
  { tls { mode = "SECRET" }, "spec.trafficPolicy.tls.mode", "SECRET" },
  { object("DestinationRule", { host = "web", trafficPolicy = {} }), "spec.trafficPolicy", "at least one field" },
  { object("DestinationRule", { host = "web", subsets = { { name = "a" }, { name = "a" } } }), "spec.subsets[1].name",
    "duplicate" },
  { object("DestinationRule", { host = "web", exportTo = { "*", "." } }), "spec.exportTo", "only entry" },
}

test("what the API server's rules and the webhook refuse is found", function()
  for i, case in ipairs(INVALID) do
    local found
    local findings = istio.validate(case[1])
    for _, finding in ipairs(findings) do
      found = found or (finding.severity == "error" and finding.path == case[2] and finding.message:find(case[3], 1,
        true))
    end
    assert(found, ("case %d: %s"):format(i, json.encode(findings)))
  end
end)

test("warnings are no errors", function()
  for _, case in ipairs {
    { object("EnvoyFilter", {}), "internal implementation details" },
    { rules({ to = { { operation = { paths = { "/x" } } } } }, "DENY"), "TCP" },
    { jwt { issuer = "a", jwks = '{"keys":[{"kty":"RSA","d":"x"}]}' }, "private key material" },
    { egress { { hosts = { "./*", "./*" } } }, "twice" },
  } do
    local findings = istio.validate(case[1])
    test.equal(findings[1].severity, "warning")
    assert(findings[1].message:find(case[2], 1, true), findings[1].message)
  end
end)

-- --- analysis ---------------------------------------------------------------------------------------------

local function namespace(name, labels)
  return { apiVersion = "v1", kind = "Namespace", metadata = { name = name, labels = labels } }
end

local function plain_pod(labels, more)
  local object_ = { apiVersion = "v1", kind = "Pod", metadata = { name = "p", namespace = "team", labels = labels },
    spec = { containers = { { name = "main", image = "x" } } } }
  for key, value in pairs(more or {}) do object_.spec[key] = value end
  return object_
end

local function service(name, ports)
  return { apiVersion = "v1", kind = "Service", metadata = { name = name, namespace = "team" },
    spec = { selector = { app = "web" }, ports = ports or { { name = "http", port = 80 } } } }
end

local function envoy_filter(patch)
  return object("EnvoyFilter", { workloadSelector = nil, configPatches = { patch } })
end

local TRIAL = yaml.decode [[
apiVersion: kubeflow.org/v1beta1
kind: Experiment
metadata: {name: e, namespace: team}
spec:
  objective: {type: maximize, objectiveMetricName: a}
  algorithm: {algorithmName: random}
  trialTemplate:
    primaryContainerName: main
    trialSpec: {apiVersion: batch/v1, kind: Job, spec: {template: {spec: {containers: [{name: main, image: x}]}}}}
]]

local function katib_config(text)
  return { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "katib-config", namespace = "kubeflow" },
    data = { ["katib-config.yaml"] = text } }
end

local function pod_default(name, value, labels)
  return { apiVersion = "kubeflow.org/v1alpha1", kind = "PodDefault", metadata = { name = name, namespace = "team" },
    spec = { selector = { matchLabels = { app = "web" } }, env = { { name = "A", value = value } }, labels = labels } }
end

local function codes(objects, options)
  local list, seen = {}, {}
  for _, message in ipairs(istio.analyze(objects, options)) do
    if not seen[message.code] then list[#list + 1] = message.code end
    seen[message.code] = true
  end
  table.sort(list)
  return table.concat(list, " ")
end

test("analyzers find what is wrong, by their codes", function()
  local web = { app = "web" }
  for sentence, case in pairs {
    ["a namespace without injection"] = { { namespace("team", {}) }, "IST0102" },
    ["labels that conflict"] = { { namespace("team", { ["istio-injection"] = "enabled", ["istio.io/rev"] = "x" }) },
      "IST0123" },
    ["a pod that should have a sidecar"] = { { namespace("team", ENABLED), plain_pod(web) }, "IST0103" },
    ["a pod that says it wants none"] = { { namespace("team", ENABLED), plain_pod { [INJECT] = "false" } }, "" },
    ["the proxy's user"] = {
      { plain_pod(web, { securityContext = { runAsUser = 1337 } }) }, "IST0144",
    },
    ["two Sidecars without a selector"] = {
      { istio.build.sidecar("team", { "./*" }), (function()
        local other = istio.build.sidecar("team", { "kubeflow/*" })
        other.metadata.name = "second"
        return other
      end)() }, "IST0111",
    },
    ["a selector that selects nothing"] = {
      { plain_pod(web), istio.build.peer_authentication("team", "STRICT", { app = "db" }) }, "IST0127",
    },
    ["a rule for a host that is not there"] = {
      { service "web", istio.build.destination_rule("team", "web2", "ISTIO_MUTUAL") }, "IST0174",
    },
    ["a rule for a host that is there"] = {
      { service "web", istio.build.destination_rule("team", "web.team.svc.cluster.local", "ISTIO_MUTUAL") }, "",
    },
    ["a port without a protocol"] = { { service("web", { { name = "web", port = 80 } }) }, "IST0118" },
    ["a selector in the root namespace"] = {
      { istio.build.peer_authentication("istio-system", "STRICT", { app = "x" }) }, "IST0167",
    },
    ["an object that does not hold"] = { { object("PeerAuthentication", { mtls = { mode = "ON" } }) }, "IST0106" },
    ["a patch relative to others"] = {
      { envoy_filter { applyTo = "HTTP_FILTER", patch = { operation = "INSERT_BEFORE", value = {} } } },
      "IST0133 IST0151",
    },
    ["a patch that adds a route"] = {
      { envoy_filter { applyTo = "HTTP_ROUTE", patch = { operation = "ADD", value = {} } } }, "IST0133 IST0153",
    },
    ["a policy that no plain peer passes, and plain pods"] = {
      { namespace("team", {}), plain_pod(web), istio.build.allow("team", "a", { principals = { "x" } }) },
      "IST0102 IST0127 KF001",
    },
    ["a DENY on a TCP port"] = {
      { service("web", { { name = "tcp-db", port = 5432 } }), rules({ to = { { operation = { paths = { "/x" } } } } },
        "DENY") },
      "IST0133 KF002",
    },
    ["a trial that never ends"] = { { namespace("team", ENABLED), TRIAL }, "KF003" },
    ["a trial whose collector does not wait"] = {
      { namespace("team", ENABLED), TRIAL,
        katib_config "runtime: {metricsCollectors: [{kind: StdOut, waitAllProcesses: false}]}" }, "",
    },
    ["PodDefaults that disagree"] = { { plain_pod(web), pod_default("a", "1"), pod_default("b", "2") }, "KF006" },
    ["PodDefaults whose labels disagree"] = { { plain_pod(web), pod_default("a", "1", { tier = "a" }),
      pod_default("b", "1", { tier = "b" }) }, "KF006" },
    ["PodDefaults that agree"] = { { plain_pod(web), pod_default("a", "1"), pod_default("b", "1") }, "" },
  } do
    test.same({ sentence, codes(case[1]) }, { sentence, case[2] })
  end
end)

test("a webhook that must come after Katib's, and does not, is found", function()
  local objects = manifests "istio-sidecar-injector-webhook"
  for _, other in ipairs(manifests "katib-webhooks") do objects[#objects + 1] = other end
  local function webhook(name, reinvocation)
    return { apiVersion = "admissionregistration.k8s.io/v1", kind = "MutatingWebhookConfiguration",
      metadata = { name = name, labels = { ["app.kubernetes.io/managed-by"] = "kfhost" } },
      webhooks = { { name = "w", reinvocationPolicy = reinvocation, rules = { { resources = { "pods" } } } } } }
  end
  local function with(object_) return codes { object_, table.unpack(objects) } end
  test.equal(with(webhook("apod.mutator", "Never")), "KF005")
  test.equal(with(webhook("apod.mutator", "IfNeeded")), "")
  test.equal(with(webhook("zz-pods", "Never")), "")
end)
