-- What the API server's rules and Istio's webhook say of one object: whether it is refused, and whether there is a
-- warning. A table of specs, kind by kind.
local istio = require "istio"
local json = require "json"
local test = require "test"
local yaml = require "yaml"

-- Each line: "ok" or "no" (refused), "warn" or "-", and the spec; annotations may stand beside it.
local function table_of(kind, text)
  local group = kind:find "Auth" and "security" or "networking"
  for line in text:gsub("\n      +", " "):gmatch "[^\n]*%S[^\n]*" do
    local accepted, warned, spec = line:match "^%s*(%S+) (%S+) (.*)$"
    test(("%s: %s"):format(kind, line:match "^%s*(.-)%s*$"), function()
      local object = { apiVersion = group .. ".istio.io/v1", kind = kind, spec = yaml.decode(spec),
        metadata = { name = "x", namespace = "bar" } }
      if object.spec.annotations then
        object.metadata.annotations, object.spec.annotations = object.spec.annotations, nil
      end
      local seen = { error = false, warning = false }
      local findings = istio.validate(object)
      for _, finding in ipairs(findings) do seen[finding.severity] = true end
      if kind == "EnvoyFilter" then seen.warning = #findings > 1 end -- each has one, and the cases ask for more
      if seen.error ~= (accepted == "no") or accepted == "ok" and seen.warning ~= (warned == "warn") then
        error(json.encode(findings), 0)
      end
    end)
  end
end

table_of("AuthorizationPolicy", [[
  ok - {selector: {matchLabels: {app: httpbin, version: v1}}, rules: [{from: [{source: {principals: [sa1]}}],
      to: [{operation: {methods: [GET]}}], when: [{key: source.ip, values: [1.2.3.4, 5.6.7.0/24]},
      {key: "request.headers[:authority]", values: [v1]}]}]}
  ok - {rules: [{from: [{source: {serviceAccounts: [ns1/sa1, sa2]}}, {source: {principals: [sa2]}}]}]}
  no - {rules: [{from: [{source: {serviceAccounts: [ns1/sa1], namespaces: [ns]}}]}]}
  no - {rules: [{from: [{source: {serviceAccounts: [baz/sa], principals: [bar]}}]}]}
  ok - {action: CUSTOM, provider: {name: x}, rules: [{}]}
  no - {action: CUSTOM, provider: {name: ""}, rules: [{}]}
  no - {action: CUSTOM, rules: [{}]}
  no - {action: CUSTOM, provider: {name: x}, rules: [{from: [{source: {notNamespaces: [ns]}}]}]}
  no - {action: CUSTOM, provider: {name: x}, rules: [{when: [{key: source.principal, values: [a]}]}]}
  no - {action: CUSTOM, provider: {name: x}, rules: [{when: [{key: "request.auth.claims[a]", notValues: [a]}]}]}
  no - {action: ALLOW, provider: {name: ""}, rules: [{}]}
  ok - {action: ALLOW}
  ok - {}
  ok - {action: ALLOW, annotations: {istio.io/dry-run: "true"}}
  ok - {action: DENY, rules: [{}], annotations: {istio.io/dry-run: "false"}}
  no - {action: ALLOW, annotations: {istio.io/dry-run: foo}}
  no - {action: CUSTOM, provider: {name: x}, rules: [{}], annotations: {istio.io/dry-run: "true"}}
  no - {action: AUDIT, annotations: {istio.io/dry-run: "true"}}
  no - {action: DENY}
  ok - {selector: {matchLabels: {app: "", version: v1}}}
  no - {selector: {matchLabels: {app: httpbin, "": v1}}}
  ok warn {selector: {}}
  no - {selector: {matchLabels: {app: httpbin-*}}}
  no - {selector: {matchLabels: {app-*: httpbin}}}
  ok - {action: DENY, targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: foo},
      rules: [{to: [{operation: {ports: ["8080"], methods: [GET]}}]}]}
  ok - {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: foo}], rules: [{}]}
  ok - {targetRefs: [{group: "", kind: Service, name: foo}], rules: [{}]}
  ok - {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: foo}], rules: [{}]}
  no - {targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: foo, namespace: bar}}
  no - {targetRef: {group: gateway.networking.k8s.io, kind: Gateway}}
  no - {targetRef: {group: wrong-group, kind: Gateway, name: foo}}
  no - {targetRef: {group: gateway.networking.k8s.io, kind: wrong-kind, name: foo}}
  no - {targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: foo}, selector: {matchLabels: {a: b}}}
  no - {targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: foo}], selector: {matchLabels: {a: b}}}
  no - {rules: [{from: []}]}
  no - {rules: [{from: [{}]}]}
  no - {rules: [{from: [{source: {}}]}]}
  no - {rules: [{to: []}]}
  no - {rules: [{to: [{}]}]}
  no - {rules: [{to: [{operation: {}}]}]}
  no - {rules: [{from: [{source: {principals: [p1, ""]}}]}]}
  no - {rules: [{from: [{source: {notPrincipals: [p1, ""]}}]}]}
  no - {rules: [{from: [{source: {requestPrincipals: [p1, ""]}}]}]}
  no - {rules: [{from: [{source: {notRequestPrincipals: [p1, ""]}}]}]}
  no - {rules: [{from: [{source: {namespaces: [ns, ""]}}]}]}
  no - {rules: [{from: [{source: {serviceAccounts: [ns/sa, ""]}}]}]}
  no - {rules: [{from: [{source: {notNamespaces: [ns, ""]}}]}]}
  no - {rules: [{from: [{source: {ipBlocks: [1.2.3.4, ""]}}]}]}
  no - {rules: [{from: [{source: {notIpBlocks: [1.2.3.4, ""]}}]}]}
  no - {rules: [{from: [{source: {remoteIpBlocks: [1.2.3.4, ip1]}}]}]}
  no - {rules: [{from: [{source: {notRemoteIpBlocks: [1.2.3.4, ""]}}]}]}
  no - {rules: [{to: [{operation: {hosts: [host, ""]}}]}]}
  no - {rules: [{to: [{operation: {notHosts: [host, ""]}}]}]}
  no - {rules: [{to: [{operation: {ports: ["80", ""]}}]}]}
  no - {rules: [{to: [{operation: {notPorts: ["80", port2]}}]}]}
  no - {rules: [{to: [{operation: {methods: [GET, ""]}}]}]}
  no - {rules: [{to: [{operation: {notMethods: [GET, ""]}}]}]}
  no - {rules: [{to: [{operation: {paths: [/path, ""]}}]}]}
  no - {rules: [{to: [{operation: {notPaths: [/path, ""]}}]}]}
  ok - {rules: [{to: [{operation: {paths: ["/path/template/{*}", "/{**}/path/template", "/{*}/a/{**}"]}}]}]}
  no - {rules: [{to: [{operation: {paths: ["/{**}/a/{*}"]}}]}]}
  no - {rules: [{to: [{operation: {paths: ["/{**}/{**}"]}}]}]}
  no - {rules: [{to: [{operation: {paths: ["/a{*}"]}}]}]}
  no - {rules: [{to: [{operation: {paths: ["/{name}"]}}]}]}
  no - {rules: [{to: [{operation: {notPaths: ["/{*}/b*"]}}]}]}
  no - {rules: [{when: [{key: "request.headers[:authority]", values: [v1, ""]}]}]}
  no - {rules: [{when: [{values: [v1]}]}]}
  no - {rules: [{when: [{key: "", values: [v1]}]}]}
  no - {rules: [{when: [{key: source.principal}]}]}
  no - {rules: [{when: [{key: source.ip, values: [a.b.c.d]}]}]}
  no - {rules: [{when: [{key: source.ip, notValues: [a.b.c.d]}]}]}
  no - {rules: [{when: [{key: key1, values: [v1]}]}]}
  ok - {rules: [{when: [{key: "experimental.envoy.filters.a.b[c]", values: [exact, "prefix-*", "*"]},
      {key: connection.sni, notValues: ["*.suffix.com"]}, {key: destination.port, values: ["91"]}]}]}
  ok warn {action: DENY, rules: [{from: [{source: {requestPrincipals: [example.com/sub-1]}}]}]}
  ok warn {action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}
  ok warn {action: DENY, rules: [{from: [{source: {principals: [temp]}}], to: [{operation: {methods: [GET]}}]}]}
  ok - {action: DENY, rules: [{from: [{source: {principals: [temp]}}],
      to: [{operation: {ports: ["8080"], methods: [GET]}}]}]}
  no - {rules: [{from: [{source: {principals: 5}}]}]}
]])

table_of("PeerAuthentication", [[
  ok - {}
  ok warn {selector: {}}
  ok - {selector: {matchLabels: {foo: bar}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {"80": {mode: STRICT}}}
  no - {mtls: {mode: BLAH}}
  no - {selector: {matchLabels: {foo: bar}}, portLevelMtls: {acd: {mode: STRICT}}}
  no - {portLevelMtls: {"80": {mode: STRICT}}}
  no - {selector: {matchLabels: {foo: bar}}, portLevelMtls: {}}
  no - {selector: {matchLabels: {foo: bar}}, portLevelMtls: {"0": {mode: STRICT}}}
  no - {selector: {matchLabels: {foo: bar}}, portLevelMtls: {"42949672": {mode: STRICT}}}
]])

table_of("RequestAuthentication", [[
  ok - {}
  ok warn {selector: {}}
  no - {annotations: {istio.io/dry-run: "true"}}
  ok - {selector: {matchLabels: {app: a, version: ""}}, jwtRules: [{issuer: foo.com, jwksUri: "https://foo.com"}]}
  no - {selector: {matchLabels: {"": v1}}}
  ok - {targetRefs: [{group: "", kind: Service, name: foo}], jwtRules: [{issuer: example.com,
      forwardOriginalToken: true,
      jwksUri: "https://example.com/.well-known/jwks.json", fromCookies: [foo], fromHeaders: [{name: foo, prefix: baz}],
      outputClaimToHeaders: [{claim: abc, header: def}], timeout: 5s, outputPayloadToHeader: header,
      spaceDelimitedClaims: [custom_scope, provider.login.scope]}]}
  no - {targetRefs: [{group: "", kind: Service, name: foo}], targetRef: {group: "", kind: Service, name: foo}}
  no - {targetRef: {group: "", kind: Service}}
  no - {targetRef: {group: "", kind: Service, name: foo, namespace: bar}}
  no - {targetRef: {group: "__", kind: Service, name: foo}}
  no - {targetRef: {group: "", kind: Serv_ice, name: foo}}
  no - {jwtRules: [null]}
  no - {jwtRules: [{}]}
  no - {jwtRules: [{issuer: ""}]}
  no - {jwtRules: [{issuer: foo.com, jwksUri: foo.com}]}
  no - {jwtRules: [{issuer: foo.com, jwksUri: "https://foo.com:not-a-number"}]}
  ok - {jwtRules: [{issuer: foo.com, jwksUri: "https://foo.com:8443/keys"}]}
  no - {jwtRules: [{issuer: example, audiences: [""]}]}
  no - {jwtRules: [{issuer: example, fromHeaders: [{prefix: baz}]}]}
  no - {jwtRules: [{issuer: example, fromHeaders: [{name: "", prefix: baz}]}]}
  no - {jwtRules: [{issuer: example, fromParams: [""]}]}
  no - {jwtRules: [{issuer: example, fromCookies: ["", foo]}]}
  no - {jwtRules: [{issuer: foo.com, jwks: foo}]}
  no - {jwtRules: [{issuer: foo.com, jwks: '{"keys": []}', jwksUri: "https://foo.com"}]}
  no - {jwtRules: [{issuer: example, outputClaimToHeaders: [null]}]}
  no - {jwtRules: [{issuer: example, outputClaimToHeaders: [{}]}]}
  no - {jwtRules: [{issuer: example, outputClaimToHeaders: [{claim: "", header: h}]}]}
  no - {jwtRules: [{issuer: example, outputClaimToHeaders: [{claim: x, header: ""}]}]}
  no - {jwtRules: [{issuer: example, outputClaimToHeaders: [{claim: x, header: ":authority"}]}]}
  no - {jwtRules: [{issuer: example, timeout: apple}]}
  no - {jwtRules: [{issuer: example, timeout: 0s}]}
  no - {jwtRules: [{issuer: example, spaceDelimitedClaims: [""]}]}
  no - {jwtRules: [{issuer: example, presence: MANDATORY}]}
]])

local TLS_PORT = "port: {protocol: HTTPS, number: 90, name: foo}, defaultEndpoint: '127.0.0.1:9999'"
table_of("Sidecar", ([[
  no - {}
  ok - {egress: [{hosts: ["*/*"]}]}
  ok warn {egress: [{hosts: ["*/*"]}], workloadSelector: {}}
  ok - {egress: [{hosts: ["./*"]}]}
  ok - {egress: [{hosts: [./foo.com]}]}
  ok - {egress: [{hosts: ["~/*"]}]}
  no - {egress: [{hosts: ["*"]}]}
  no - {egress: [{hosts: [/]}]}
  no - {egress: [{hosts: []}]}
  no - {egress: [{hosts: ["*/foo.com"]}, {hosts: [ns1/bar.com]}]}
  no - {egress: [{hosts: ["*/foo.com"]}, {port: {protocol: http, number: 8080, name: h}, hosts: [ns1/bar.com]}]}
  no - {egress: [{port: {protocol: http1, number: 1000000}, hosts: [ns1/bar.com]}]}
  ok - {egress: [{port: {protocol: http, number: 8080}, hosts: [ns1/bar.com]}]}
  ok - {egress: [{port: {protocol: http, number: 0, name: uds}, hosts: [ns1/bar.com], bind: "unix:///@foo/bar/com"}]}
  ok - {egress: [{port: {protocol: http, number: 0, name: uds}, hosts: [ns1/bar.com], bind: "unix:///foo/bar/com"}]}
  no - {ingress: [{port: {protocol: http, number: 0, name: uds}, bind: "unix:///@foo", defaultEndpoint: "127.0.0.1:9"}]}
  no - {egress: [{port: {protocol: http, number: 0, name: uds}, hosts: [ns1/bar.com], bind: "foobar:///@foo/bar"}]}
  no - {egress: [{port: {protocol: http, number: 0}, hosts: [a/b.com], bind: "unix:///@foo", captureMode: IPTABLES}]}
  no - {egress: [{port: {number: 0}, hosts: [a/b.com], bind: "unix:///@foo"},
      {port: {number: 0}, hosts: [a/b.com], bind: "unix:///@foo"}]}
  no - {egress: [{port: {number: 90}, hosts: [ns1/bar.com]}, {port: {number: 90}, hosts: [ns2/bar.com]}]}
  no - {ingress: [{defaultEndpoint: "127.0.0.1:110"}], egress: [{hosts: ["*/*"]}]}
  no - {ingress: [{port: {number: 90}, defaultEndpoint: "127.0.0.1:1"}, {port: {number: 90}}]}
  ok - {ingress: [{port: {protocol: http, number: 90, name: foo}}], egress: [{hosts: ["*/*"]}]}
  no - {ingress: [{port: {number: 90}, defaultEndpoint: "1.1.1.1:90"}]}
  no - {ingress: [{port: {number: 90}, defaultEndpoint: "[1:1:1:1:1:1:1:1]:90"}]}
  no - {ingress: [{port: {number: 90}, defaultEndpoint: "unix:///"}]}
  no - {ingress: [{port: {number: 90}, defaultEndpoint: "127.0.0.1:hi"}]}
  no - {ingress: [{port: {number: 90}, defaultEndpoint: "[::1]:hi"}]}
  ok - {ingress: [{port: {number: 90, name: foo}, defaultEndpoint: "127.0.0.1:9999"}]}
  ok - {ingress: [{port: {number: 90, name: foo}, defaultEndpoint: "[::1]:9999"}]}
  ok - {outboundTrafficPolicy: {mode: ALLOW_ANY}}
  no - {outboundTrafficPolicy: {egressProxy: {host: foo.bar, port: {number: 5000}}}}
  ok - {outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: foo.bar, subset: x, port: {number: 5000}}}}
  no - {outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: "foobar*123", port: {number: 5000}}}}
  no - {outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: foo.bar}}}
  ok warn {egress: [{hosts: ["*/*", test/a.com]}]}
  ok - {egress: [{hosts: ["*/b.com", test/a.com]}]}
  ok warn {egress: [{hosts: ["test/*", test/a.com]}]}
  no - {egress: [{hosts: ["test/*a.com"]}]}
  ok warn {egress: [{hosts: ["./*", bar/a.com]}]}
  ok - {ingress: [{TLS, tls: {mode: SIMPLE, serverCertificate: c, privateKey: k}}]}
  no - {ingress: [{TLS, tls: {mode: ISTIO_MUTUAL}}]}
  no - {ingress: [{TLS, tls: {mode: AUTO_PASSTHROUGH}}]}
  no - {ingress: [{port: {protocol: tcp, number: 90}, tls: {mode: SIMPLE}}]}
  no - {ingress: [{TLS, tls: {mode: SIMPLE, httpsRedirect: true}}]}
  no - {ingress: [{TLS, tls: {mode: SIMPLE, subjectAltNames: [httpbin.com]}}]}
  no - {ingress: [{TLS, tls: {mode: SIMPLE, credentialName: secret}}]}
  no - {ingress: [{TLS, tls: {mode: SIMPLE, credentialNames: [secret]}}]}
  no - {ingress: [{TLS, tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}]}}]}
  ok - {inboundConnectionPool: {http: {http1MaxPendingRequests: 1024}}}
  no - {inboundConnectionPool: {}}
  ok - {ingress: [{port: {protocol: http, number: 90}, connectionPool: {http: {maxRetries: 1}}}]}
  ok warn {ingress: [{port: {protocol: tcp, number: 90}, connectionPool: {http: {maxRetries: 1}}}]}
  no - {ingress: [{port: {protocol: tcp, number: 90}, connectionPool: {}}]}
]]):gsub("TLS, tls", TLS_PORT .. ", tls"))

table_of("DestinationRule", [[
  no - {subsets: [{name: v1, labels: {version: v1}}]}
  ok - {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
  no - {host: reviews, subsets: [{name: v1}, {name: v1}]}
  no - {host: reviews, trafficPolicy: {}}
  ok - {host: r, trafficPolicy: {loadBalancer: {warmup: {duration: 300s, minimumPercent: 5.0, aggression: 5.0}}}}
  no - {host: r, trafficPolicy: {loadBalancer: {warmup: {duration: 300s, minimumPercent: 150.0}}}}
  no - {host: r, trafficPolicy: {loadBalancer: {warmup: {minimumPercent: 5.0}}}}
  no - {host: r, trafficPolicy: {loadBalancer: {warmup: {duration: 300s, aggression: 0.3}}}}
  ok - {host: r, trafficPolicy: {connectionPool: {http: {http2KeepAlive: {interval: 15s, timeout: 5s}}}}}
  no - {host: r, trafficPolicy: {connectionPool: {}}}
  no - {host: r, trafficPolicy: {connectionPool: {http: {maxRetries: -1}}}}
  no - {host: r, trafficPolicy: {outlierDetection: {maxEjectionPercent: 105}}}
  no - {host: r, trafficPolicy: {outlierDetection: {minHealthPercent: 101}}}
  no - {host: r, trafficPolicy: {outlierDetection: {consecutiveLocalOriginFailures: 10}}}
  ok warn {host: r, trafficPolicy: {outlierDetection: {consecutiveErrors: 101}}}
  no - {host: r, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {ttl: 5s}}}}}
  ok - {host: r, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
  no - {host: r, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCertificates: c}}}
  no - {host: r, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: c}}}
  no - {host: r, trafficPolicy: {tls: {mode: MUTUAL, privateKey: k}}}
  ok - {host: r, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: c, privateKey: k, caCertificates: a}}}
  ok - {host: r, trafficPolicy: {tls: {mode: MUTUAL, credentialName: s}}}
  no - {host: r, trafficPolicy: {tls: {mode: SIMPLE, credentialName: s, caCertificates: a}}}
  no - {host: r, trafficPolicy: {portLevelSettings: [{tls: {mode: SIMPLE}}]}}
  no - {host: r, exportTo: [a, a]}
]])

local PATCH = "patch: {operation: MERGE, value: {typed_config: {'@type': x}}}"
table_of("EnvoyFilter", ([[
  ok - {configPatches: [{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name:
      envoy.filters.network.http_connection_manager}}}}, PATCH}]}
  ok - {configPatches: [{applyTo: HTTP_FILTER, match: {context: WAYPOINT, waypoint: {filter: {name: x}}},
      patch: {operation: REMOVE}}]}
  ok - {configPatches: [{applyTo: CLUSTER, match: {context: WAYPOINT, waypoint: {}}, patch: {operation: REMOVE}}]}
  ok - {configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {name: c}}}]}
  ok - {configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {transportProtocol: tls}}},
      patch: {operation: MERGE_AND_REPLACE_LIST, value: {name: n, typed_config: {"@type": x}}}}]}
  no - {configPatches: [{applyTo: HTTP_FILTER, match: {context: SIDECAR_INBOUND, waypoint: {}}, PATCH}]}
  no - {configPatches: [{applyTo: HTTP_FILTER, match: {context: WAYPOINT, listener: {}}, PATCH}]}
  no - {configPatches: [{applyTo: HTTP_FILTER, match: {context: WAYPOINT, waypoint: {portNumber: 65536}}, PATCH}]}
  ok warn {workloadSelector: {}}
  no - {configPatches: [null]}
  no - {configPatches: [{}]}
  no - {configPatches: [{applyTo: LISTENER}]}
  no - {configPatches: [{applyTo: LISTENER, patch: {}}]}
  no - {configPatches: [{applyTo: LISTENER, patch: {operation: ADD}}]}
  ok - {configPatches: [{applyTo: LISTENER, patch: {operation: REMOVE}}]}
  no - {configPatches: [{applyTo: LISTENER, match: {cluster: {}}, PATCH}]}
  no - {configPatches: [{applyTo: VIRTUAL_HOST, match: {listener: {}}, PATCH}]}
  no - {configPatches: [{applyTo: CLUSTER, match: {listener: {}}, PATCH}]}
  no - {configPatches: [{applyTo: LISTENER, match: {proxy: {proxyVersion: "%#@~++==`24c234`"}}, PATCH}]}
  no - {configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {}}}}, PATCH}]}
  no - {configPatches: [{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: x, subFilter:
      {name: y}}}}}, PATCH}]}
  no - {configPatches: [{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: x, subFilter:
      {name: y}}}}}, PATCH}]}
  no - {configPatches: [{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name:
      envoy.filters.network.http_connection_manager, subFilter: {}}}}}, PATCH}]}
  ok warn {configPatches: [{applyTo: LISTENER, match: {listener: {filterChain: {filter: {name: x}}}}, PATCH}]}
  ok warn {configPatches: [{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {name: x}}}]}
]]):gsub("PATCH", PATCH))
