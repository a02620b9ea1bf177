-- What analyzers of Istio find, code by code, as the ones of istioctl do: each case is a few objects, and the messages
-- of its codes that must come, each with its object.
local istio = require "istio"
local test = require "test"
local yaml = require "yaml"

-- A text of objects: each line is KIND [namespace/]name {more}, where more goes into the object; a line that is set
-- further in goes on with the one before.
local VERSIONS = { Namespace = "v1", Pod = "v1", Service = "v1", ConfigMap = "v1", Secret = "v1", Node = "v1",
  Deployment = "apps/v1", MutatingWebhookConfiguration = "admissionregistration.k8s.io/v1",
  AuthorizationPolicy = "security.istio.io/v1", PeerAuthentication = "security.istio.io/v1",
  HTTPRoute = "gateway.networking.k8s.io/v1", K8sGateway = "gateway.networking.k8s.io/v1",
  EnvoyFilter = "networking.istio.io/v1alpha3" }

local function objects_of(text)
  local list = {}
  for line in text:gsub("\n    +", " "):gmatch "[^\n]*%S[^\n]*" do
    local kind, place, more = line:match "^%s*(%S+) (%S+)%s*(.*)$"
    local object = more ~= "" and yaml.decode(more) or {}
    local namespace, name = place:match "^(.-)/(.+)$"
    object.metadata = object.metadata or {}
    object.metadata.namespace, object.metadata.name = namespace, name or place
    object.metadata.labels, object.labels = object.labels, nil
    object.metadata.annotations, object.annotations = object.annotations, nil
    object.apiVersion, object.kind = VERSIONS[kind] or "networking.istio.io/v1", (kind:gsub("^K8s", ""))
    list[#list + 1] = object
  end
  return list
end

-- Messages of the codes that are asked for, as "CODE Kind ns/name", in order.
local function found(text, wanted, options)
  local asked, list = {}, {}
  for code in wanted:gmatch "IST%d+" do asked[code] = true end
  for _, message in ipairs(istio.analyze(objects_of(text), options)) do
    if asked[message.code] then list[#list + 1] = message.code .. " " .. message.object end
  end
  table.sort(list)
  return table.concat(list, "\n")
end

-- `codes` are those that are looked for; `expected` the lines that must come, none when nothing may.
local function finds(sentence, codes, text, expected, options)
  test(sentence, function()
    local lines = {}
    for line in (expected or ""):gmatch "[^\n]+" do lines[#lines + 1] = line:match "^%s*(.-)%s*$" end
    table.sort(lines)
    test.equal(found(text, codes, options), table.concat(lines, "\n"))
  end)
end

-- --- injection ----------------------------------------------------------------------------------------------

finds("namespaces without injection, and pods that lack their proxy", "IST0102 IST0103 IST0123 IST0148", [[
  Namespace default {labels: {istio-injection: enabled}}
  Namespace off {labels: {istio-injection: disabled}}
  Namespace bare
  Namespace canary {labels: {istio.io/rev: canary}}
  Namespace both {labels: {istio-injection: enabled, istio.io/rev: canary}}
  Namespace calm {labels: {istio.io/dataplane-mode: ambient}}
  Namespace torn {labels: {istio.io/dataplane-mode: ambient, istio-injection: enabled}}
  Namespace istio-system
  Namespace kube-system
  Pod default/with {spec: {containers: [{name: a}, {name: istio-proxy, image: proxyv2}]}}
  Pod default/native {spec: {containers: [{name: a}], initContainers: [{name: istio-proxy, image: proxyv2}]}}
  Pod default/without {spec: {containers: [{name: a}]}}
  Pod default/unwilling {annotations: {sidecar.istio.io/inject: "false"}, spec: {containers: [{name: a}]}}
  Pod default/label {labels: {sidecar.istio.io/inject: "false"}, annotations: {sidecar.istio.io/inject: "true"}}
  Pod default/host {spec: {hostNetwork: true, containers: [{name: a}]}}
]], [[
  IST0102 Namespace bare
  IST0103 Pod default/without
  IST0123 Namespace both
  IST0123 Namespace torn
]])

local BY_DEFAULT = [[
  ConfigMap istio-system/istio-sidecar-injector {data:
      {values: '{"sidecarInjectorWebhook": {"enableNamespacesByDefault": true}}'}}
]]
finds("namespaces that are injected because that is the default", "IST0102 IST0148", [[
  Namespace bare
  Namespace off {labels: {istio-injection: disabled}}
]] .. BY_DEFAULT, "IST0148 Namespace bare")

local IMAGES = [[
  Namespace on {labels: {istio-injection: enabled}}
  Namespace plain
  Namespace canary {labels: {istio.io/rev: canary}}
  ConfigMap istio-system/istio-sidecar-injector {data: {values: '{"global": {"hub": "h", "tag": "2",
      "proxy": {"image": "p"}}}'}}
  ConfigMap istio-system/istio-sidecar-injector-canary {data: {values: '{"global": {"proxy": {"image": "own/p:3"}}}'}}
]]
finds("pods whose proxy is not the one that the injector gives now", "IST0158", IMAGES .. [[
  Pod on/old {spec: {containers: [{name: istio-proxy, image: "h/p:1"}]}}
  Pod on/new {spec: {containers: [{name: istio-proxy, image: "h/p:2"}]}}
  Pod on/own {annotations: {sidecar.istio.io/proxyImage: "x"}, spec: {containers: [{name: istio-proxy, image: x}]}}
  Pod plain/old {spec: {containers: [{name: istio-proxy, image: "h/p:1"}]}}
  Pod canary/old {spec: {initContainers: [{name: istio-proxy, image: "h/p:2"}]}}
]], "IST0158 Namespace on\nIST0158 Namespace canary")
finds("pods whose proxy is that one", "IST0158", IMAGES .. [[
  Pod on/new {spec: {containers: [{name: istio-proxy, image: "h/p:2"}]}}
  Pod canary/new {spec: {initContainers: [{name: istio-proxy, image: "own/p:3"}]}}
]])

finds("the image auto where nobody replaces it", "IST0146 IST0147", [[
  Namespace on {labels: {istio-injection: enabled}}
  Namespace plain
  Pod on/late {spec: {containers: [{name: istio-proxy, image: auto}]}}
  Deployment plain/gateway {spec: {template: {spec: {containers: [{name: istio-proxy, image: auto}]}}}}
  Deployment elsewhere/gateway {spec: {template: {spec: {containers: [{name: istio-proxy, image: auto}]}}}}
  Deployment plain/asked {spec: {template: {metadata: {labels: {sidecar.istio.io/inject: "true"}},
      spec: {containers: [{name: istio-proxy, image: auto}]}}}}
  Deployment on/gateway {spec: {template: {spec: {containers: [{name: istio-proxy, image: auto}]}}}}
]], "IST0147 Pod on/late\nIST0146 Deployment plain/gateway\nIST0146 Deployment elsewhere/gateway")

finds("the proxy's user, of a pod and of containers", "IST0144", [[
  Pod a/pod {spec: {securityContext: {runAsUser: 1337}, containers: [{name: x}, {name: y}]}}
  Pod a/container {spec: {containers: [{name: x, securityContext: {runAsUser: 1337}}, {name: y}]}}
  Pod a/proxy {spec: {containers: [{name: istio-proxy, securityContext: {runAsUser: 1337}}]}}
  Deployment a/web {spec: {template: {spec: {securityContext: {runAsUser: 1337}, containers: [{name: x}]}}}}
]], "IST0144 Pod a/pod\nIST0144 Pod a/container\nIST0144 Deployment a/web")

-- --- annotations --------------------------------------------------------------------------------------------

finds("annotations that nobody knows, in the wrong place, without meaning, going away",
  "IST0107 IST0108 IST0125 IST0135", [[
  Service web {annotations: {networking.istio.io/exportThree: x, networking.istio.io/exportTo: y}}
  Service psp {annotations: {kubernetes.io/psp: x}}
  Pod delays {annotations: {readiness.status.sidecar.istio.io/initialDelaySeconds: soon,
      readiness.status.sidecar.istio.io/periodSeconds: "10"}}
  Pod class {annotations: {proxy.istio.io/config: "{}", kubernetes.io/ingress.class: istio, helm.sh/hook: x}}
  Deployment stats {annotations: {sidecar.istio.io/statsInclusionPrefixes: cluster}}
  Namespace staging {annotations: {kubernetes.io/ingress.class: foo}}
  Pod ranges {annotations: {traffic.sidecar.istio.io/includeOutboundIPRanges: "10.0.0.0/8,nowhere"}}
  Pod ports {annotations: {traffic.sidecar.istio.io/excludeInboundPorts: "80,*",
      traffic.sidecar.istio.io/includeInboundPorts: "*"}}
  Pod mode {annotations: {sidecar.istio.io/interceptionMode: BOTH}}
  Pod both {labels: {sidecar.istio.io/inject: "true"}, annotations: {sidecar.istio.io/inject: "true"}}
  Pod alone {annotations: {sidecar.istio.io/inject: "true"}}
  Deployment template {spec: {template: {metadata: {annotations: {sidecar.istio.io/proxyCPUs: "1"}}}}}
]], [[
  IST0108 Service web
  IST0125 Pod delays
  IST0107 Pod class
  IST0107 Deployment stats
  IST0135 Deployment stats
  IST0107 Namespace staging
  IST0125 Pod ranges
  IST0125 Pod ports
  IST0125 Pod mode
  IST0135 Pod alone
  IST0108 Deployment template
]])

-- --- what is referred to ------------------------------------------------------------------------------------

finds("policies without a workload, and of namespaces that are not there", "IST0101 IST0127", [[
  Namespace web {labels: {istio-injection: enabled}}
  Namespace prod-web
  Namespace web-test
  Namespace plain
  Pod web/one {labels: {app: web, version: v1}}
  Pod plain/one {labels: {app: plain}}
  Pod calm/one {labels: {app: sleep}, annotations: {ambient.istio.io/redirection: enabled}}
  AuthorizationPolicy web/fits {spec: {selector: {matchLabels: {app: web}},
      rules: [{from: [{source: {namespaces: [web, WEB]}}]}]}}
  AuthorizationPolicy web/all {spec: {rules: [{}]}}
  AuthorizationPolicy web/none {spec: {selector: {matchLabels: {app: bogus, version: v1}}}}
  AuthorizationPolicy istio-system/mesh {spec: {}}
  AuthorizationPolicy istio-system/mesh-none {spec: {selector: {matchLabels: {version: bogus}}}}
  AuthorizationPolicy empty/all {spec: {rules: [{}]}}
  AuthorizationPolicy plain/all {spec: {rules: [{}]}}
  AuthorizationPolicy calm/fits {spec: {selector: {matchLabels: {app: sleep}}}}
  AuthorizationPolicy calm/none {spec: {selector: {matchLabels: {app: web}}}}
  AuthorizationPolicy web/from {spec: {rules: [{from: [{source: {namespaces: ["prod-*", "*-test", "*-bogus",
      "bogus-*", "*", web]}}]}]}}
  AuthorizationPolicy web/not {spec: {rules: [{from: [{source: {notNamespaces: ["*-bogus", "prod-*"]}}]}]}}
]], [[
  IST0127 AuthorizationPolicy web/none
  IST0127 AuthorizationPolicy istio-system/mesh-none
  IST0127 AuthorizationPolicy empty/all
  IST0127 AuthorizationPolicy plain/all
  IST0127 AuthorizationPolicy calm/none
  IST0101 AuthorizationPolicy web/from
  IST0101 AuthorizationPolicy web/from
  IST0101 AuthorizationPolicy web/not
]])

finds("Sidecars that conflict, select nothing, or have no effect", "IST0101 IST0110 IST0111 IST0167", [[
  Namespace calm {labels: {istio.io/dataplane-mode: ambient}}
  Namespace torn {labels: {istio.io/dataplane-mode: ambient, istio-injection: enabled}}
  Pod a/product {labels: {app: product}}
  Pod a/reviews {labels: {app: reviews}}
  Pod a/ratings {labels: {app: ratings, mine: ratings}}
  Pod b/product {labels: {app: product}}
  Pod calm/one {labels: {app: calm}, annotations: {ambient.istio.io/redirection: enabled}}
  Sidecar a/default {spec: {egress: [{hosts: ["./*"]}]}}
  Sidecar a/fits {spec: {workloadSelector: {labels: {app: product}}}}
  Sidecar a/nothing {spec: {workloadSelector: {labels: {app: bogus}}}}
  Sidecar b/elsewhere {spec: {workloadSelector: {labels: {app: reviews}}}}
  Sidecar a/twin-1 {spec: {workloadSelector: {labels: {app: reviews}}}}
  Sidecar a/twin-2 {spec: {workloadSelector: {labels: {app: reviews}}}}
  Sidecar a/overlap-1 {spec: {workloadSelector: {labels: {app: ratings}}}}
  Sidecar a/overlap-2 {spec: {workloadSelector: {labels: {mine: ratings}}}}
  Sidecar c/first {spec: {egress: [{hosts: ["./*"]}]}}
  Sidecar c/second {spec: {egress: [{hosts: ["./*"]}]}}
  Sidecar calm/all {spec: {}}
  Sidecar calm/one {spec: {workloadSelector: {labels: {app: calm}}}}
  Sidecar torn/all {spec: {}}
]], [[
  IST0101 Sidecar a/nothing
  IST0101 Sidecar b/elsewhere
  IST0110 Sidecar a/twin-1
  IST0110 Sidecar a/twin-2
  IST0110 Sidecar a/overlap-1
  IST0110 Sidecar a/overlap-2
  IST0111 Sidecar c/first
  IST0111 Sidecar c/second
  IST0167 Sidecar calm/all
  IST0167 Sidecar calm/one
]])

finds("rules for hosts that are not there, servers that nobody verifies, subsets without pods",
  "IST0128 IST0129 IST0173 IST0174", [[
  Service a/db {spec: {ports: [{name: tcp, port: 1}]}}
  ServiceEntry a/out {spec: {hosts: ["*.example.com", db.mongo]}}
  Node node-1 {labels: {topology.kubernetes.io/zone: z1}}
  Pod a/db {labels: {app: db}, spec: {nodeName: node-1, containers: []}}
  DestinationRule a/simple {spec: {host: db, trafficPolicy: {tls: {mode: SIMPLE}}}}
  DestinationRule a/mutual {spec: {host: db, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: c,
      privateKey: k}}}}
  DestinationRule a/with-ca {spec: {host: db, trafficPolicy: {tls: {mode: SIMPLE, caCertificates: c}}}}
  DestinationRule a/istio {spec: {host: db, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}
  DestinationRule a/port {spec: {host: db, trafficPolicy: {portLevelSettings: [{port: {number: 1},
      tls: {mode: SIMPLE}}]}}}
  DestinationRule a/both {spec: {host: x.example.com, trafficPolicy: {tls: {mode: SIMPLE},
      portLevelSettings: [{port: {number: 1}, tls: {mode: SIMPLE}}]}}}
  DestinationRule a/credential {spec: {host: db, trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}}}
  DestinationRule a/selected {spec: {host: db, workloadSelector: {matchLabels: {app: x}},
      trafficPolicy: {tls: {mode: SIMPLE, credentialName: c}}}}
  DestinationRule a/nowhere {spec: {host: nowhere.a.svc.cluster.local}}
  DestinationRule a/mongo {spec: {host: db.mongo}}
  DestinationRule a/subsets {spec: {host: db, subsets: [{name: fits, labels: {app: db}}, {name: none,
      labels: {app: x}}, {name: zone, labels: {topology.kubernetes.io/zone: z1}}]}}
]], [[
  IST0128 DestinationRule a/simple
  IST0128 DestinationRule a/mutual
  IST0129 DestinationRule a/port
  IST0128 DestinationRule a/both
  IST0129 DestinationRule a/both
  IST0128 DestinationRule a/credential
  IST0174 DestinationRule a/nowhere
  IST0173 DestinationRule a/subsets
]])

finds("ports that name no protocol", "IST0118 IST0150", [[
  Service a/nameless {spec: {ports: [{port: 80}, {port: 81}]}}
  Service a/foo {spec: {ports: [{name: foo, port: 80}]}}
  Service a/fine {spec: {ports: [{name: tcp-foo, port: 80}, {name: HTTP, port: 81}, {name: grpc-web, port: 82}]}}
  Service a/said {spec: {ports: [{name: x, appProtocol: http, port: 80}, {name: mesh, appProtocol: hbone,
      port: 15008}]}}
  Service a/known {spec: {ports: [{port: 3306}, {name: dns, protocol: UDP, port: 53}]}}
  Service kube-system/foo {spec: {ports: [{name: foo, port: 80}]}}
  Service a/external {spec: {type: ExternalName, ports: [{name: tcp, port: 80}]}}
  Service b/external {spec: {type: ExternalName, ports: [{name: nginx, port: 80}]}}
  Service c/external {spec: {type: ExternalName, ports: [{name: http, port: 80}, {name: tcp-1, port: 81}]}}
]], [[
  IST0118 Service a/nameless
  IST0118 Service a/nameless
  IST0118 Service a/foo
  IST0150 Service a/external
  IST0150 Service b/external
]])

finds("routes and gateways that name what is not there", "IST0101", [[
  Service a/reviews {spec: {ports: [{name: http, port: 80}]}}
  Service b/other {spec: {ports: [{name: http, port: 80}]}}
  Service b/hidden {annotations: {networking.istio.io/exportTo: "."}, spec: {ports: [{name: http, port: 80}]}}
  ServiceEntry b/private {spec: {hosts: [private.com], exportTo: ["."]}}
  ServiceEntry b/public {spec: {hosts: ["*.public.com"]}}
  Pod g/gateway {labels: {istio: own}}
  Secret g/there
  Gateway a/own {spec: {selector: {istio: own}, servers: [{tls: {credentialName: there}}]}}
  Gateway a/secret {spec: {selector: {istio: own}, servers: [{tls: {credentialName: bogus}}]}}
  Gateway a/podless {spec: {selector: {istio: bogus}}}
  Gateway a/usual {spec: {selector: {istio: ingressgateway}}}
  DestinationRule a/reviews {spec: {host: reviews, subsets: [{name: v1, labels: {}}]}}
  VirtualService a/fine {spec: {gateways: [own, a/own, mesh], http: [{route: [{destination: {host: reviews,
      port: {number: 80}}}, {destination: {host: other.b.svc.cluster.local}},
      {destination: {host: x.public.com}}, {destination: {host: reviews, subset: v1}}]}]}}
  VirtualService a/gateway {spec: {gateways: [bogus]}}
  VirtualService a/host {spec: {http: [{route: [{destination: {host: bogus}}]}]}}
  VirtualService a/mirror {spec: {http: [{route: [{destination: {host: reviews}}], mirror: {host: bogus}}]}}
  VirtualService a/port {spec: {tcp: [{route: [{destination: {host: reviews, port: {number: 81}}}]}]}}
  VirtualService a/hidden {spec: {http: [{route: [{destination: {host: hidden.b.svc.cluster.local}}]}]}}
  VirtualService a/private {spec: {tls: [{route: [{destination: {host: private.com}}]}]}}
  VirtualService a/subset {spec: {http: [{route: [{destination: {host: reviews, subset: v2}}]}]}}
]], [[
  IST0101 Gateway a/secret
  IST0101 Gateway a/podless
  IST0101 VirtualService a/gateway
  IST0101 VirtualService a/host
  IST0101 VirtualService a/mirror
  IST0101 VirtualService a/port
  IST0101 VirtualService a/hidden
  IST0101 VirtualService a/private
  IST0101 VirtualService a/subset
]])

-- --- conditions, webhooks, patches -----------------------------------------------------------------------------

finds("conditions that say no", "IST0171", [[
  Service a/bound {status: {conditions: [{type: istio.io/WaypointBound, status: "False"}]}}
  Service a/other {status: {conditions: [{type: Ready, status: "False"}]}}
  ServiceEntry a/bound {status: {conditions: [{type: istio.io/WaypointBound, status: "False"}]}}
  ServiceEntry a/fine {status: {conditions: [{type: istio.io/WaypointBound, status: "True"}]}}
  AuthorizationPolicy a/node {status: {conditions: [{type: ZtunnelAccepted, status: "False"}]}}
  AuthorizationPolicy a/partly {status: {conditions: [{type: WaypointAccepted, status: "True",
      reason: PartiallyInvalid}]}}
  K8sGateway a/gateway {status: {conditions: [{type: Programmed, status: "False"}]}}
  HTTPRoute a/route {status: {parents: [{conditions: [{type: Accepted, status: "False"}]}]}}
]], [[
  IST0171 Service a/bound
  IST0171 ServiceEntry a/bound
  IST0171 AuthorizationPolicy a/node
  IST0171 AuthorizationPolicy a/partly
  IST0171 Gateway a/gateway
  IST0171 HTTPRoute a/route
]])

finds("injectors that overlap, or whose service is not there", "IST0139", [[
  Service istio-system/istiod {spec: {ports: [{name: https, port: 443}]}}
  MutatingWebhookConfiguration one {webhooks: [{name: namespace.sidecar-injector.istio.io,
      namespaceSelector: {matchLabels: {istio-injection: enabled}}, clientConfig: {service: {name: istiod,
      namespace: istio-system}}}]}
  MutatingWebhookConfiguration two {webhooks: [{name: two.istio.io,
      namespaceSelector: {matchExpressions: [{key: istio-injection, operator: In, values: [enabled]}]},
      clientConfig: {service: {name: gone, namespace: istio-system}}}]}
  MutatingWebhookConfiguration canary {webhooks: [{name: canary.istio.io,
      namespaceSelector: {matchLabels: {istio.io/rev: canary}, matchExpressions: [{key: istio-injection,
      operator: DoesNotExist}]}, clientConfig: {url: "https://x"}}]}
  MutatingWebhookConfiguration other {webhooks: [{name: other.example.com, clientConfig: {url: "https://x"}}]}
]], [[
  IST0139 MutatingWebhookConfiguration one
  IST0139 MutatingWebhookConfiguration two
  IST0139 MutatingWebhookConfiguration two
]])

-- An EnvoyFilter of one patch.
local function patch(name, applies, operation, more, spec)
  return ("EnvoyFilter a/%s {spec: {%s configPatches: [{applyTo: %s, patch: {operation: %s, value: {name: %s}}%s}]}}\n")
    :format(name, spec or "", applies, operation, name, more or "")
end

local CODES = "IST0151 IST0152 IST0153 IST0154 IST0155"
finds("patches that are relative to others", CODES, patch("before", "HTTP_FILTER", "INSERT_BEFORE")
  .. patch("after", "HTTP_FILTER", "INSERT_AFTER") .. patch("first", "HTTP_FILTER", "INSERT_FIRST")
  .. patch("merge", "NETWORK_FILTER", "MERGE") .. patch("add", "CLUSTER", "ADD")
  .. patch("remove", "NETWORK_FILTER", "REMOVE") .. patch("replace", "NETWORK_FILTER", "REPLACE")
  .. patch("ordered", "HTTP_FILTER", "INSERT_BEFORE", nil, "priority: 10,"), [[
  IST0151 EnvoyFilter a/before
  IST0151 EnvoyFilter a/after
  IST0151 EnvoyFilter a/remove
  IST0151 EnvoyFilter a/replace
]])
finds("operations that do not fit what they are applied to", CODES, patch("routes", "ROUTE_CONFIGURATION", "ADD")
  .. patch("route", "HTTP_ROUTE", "ADD") .. patch("gone", "ROUTE_CONFIGURATION", "REMOVE")
  .. patch("cluster", "CLUSTER", "REPLACE", nil, "priority: 10,") .. patch("chain", "FILTER_CHAIN", "MERGE"), [[
  IST0153 EnvoyFilter a/routes
  IST0153 EnvoyFilter a/route
  IST0154 EnvoyFilter a/gone
  IST0152 EnvoyFilter a/cluster
]])
local SAME = "EnvoyFilter a/%s {spec: {configPatches: [{applyTo: HTTP_FILTER, match: {%s}, patch: {operation: "
  .. "INSERT_AFTER, value: {name: lua}}}]}}\n"
finds("a filter that another patch brings for some versions of the proxy only", CODES,
  SAME:format("versioned", 'proxy: {proxyVersion: "^1"}') .. SAME:format("later", ""), [[
  IST0151 EnvoyFilter a/versioned
  IST0155 EnvoyFilter a/later
]])

test("severities are those of istioctl", function()
  local severity = {}
  for _, message in ipairs(istio.analyze(objects_of [[
  Namespace bare
  Namespace both {labels: {istio-injection: enabled, istio.io/rev: x}}
  Pod both/one {labels: {app: a}, annotations: {x.istio.io/y: z}}
  Service a/foo {spec: {ports: [{name: foo, port: 80}]}}
  Sidecar a/one {spec: {}}
  Sidecar a/two {spec: {}}
  Sidecar a/three {spec: {workloadSelector: {labels: {app: x}}}}
  DestinationRule a/x {spec: {host: x}}
  EnvoyFilter a/r {spec: {configPatches: [{applyTo: HTTP_ROUTE, patch: {operation: ADD, value: {}}}]}}
  ]])) do severity[message.code] = message.severity end
  test.same(severity, { IST0101 = "error", IST0102 = "info", IST0103 = "warning", IST0108 = "warning",
    IST0106 = "error", IST0111 = "error", IST0118 = "info", IST0123 = "warning", IST0133 = "warning",
    IST0153 = "error", IST0174 = "warning" })
end)
