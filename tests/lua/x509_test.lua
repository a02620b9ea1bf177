-- Certificates: what is made can be read, and OpenSSL's own tool believes it.
local test = require "test"
local fs = require "fs"
local proc = require "proc"
local x509 = require "x509"

local function leaf(options)
  local ca = x509.authority { name = "test authority" }
  options.names = options.names or { "localhost" }
  return x509.issue(ca, options), ca
end

test("an authority may sign, a leaf may not", function()
  local pair, ca = leaf { name = "leaf" }
  local authority, certificate = x509.parse(ca.certificate), x509.parse(pair.certificate)
  test.equal(authority.authority, true)
  test.equal(authority.subject, "test authority")
  test.equal(authority.issuer, "test authority")
  test.equal(certificate.authority, false)
  test.equal(certificate.subject, "leaf")
  test.equal(certificate.issuer, "test authority")
  test.equal(#certificate.fingerprint, 64)
  test.equal(certificate.serial == authority.serial, false)
end)

test("names are host names, addresses and URIs", function()
  local names = { "localhost", "*.example.org", "127.0.0.1", "::1", "spiffe://cluster.local/ns/a/sa/b" }
  test.same(x509.parse(leaf { names = names }.certificate).names, names)
end)

test("organizations are kept, umlauts too", function()
  local pair = leaf { usage = "client", name = "jürgen", organizations = { "system:masters", "grüne" } }
  local certificate = x509.parse(pair.certificate)
  test.same(certificate.organizations, { "system:masters", "grüne" })
  test.equal(certificate.client, true)
  test.equal(certificate.server, false)
end)

test("validity is days from now, or two times", function()
  local now = os.time()
  local certificate = x509.parse(leaf { days = 2 }.certificate)
  test.equal(math.abs(certificate.not_after - now - 2 * 86400) <= 2, true)
  test.equal(math.abs(certificate.not_before - now + 300) <= 2, true)
  certificate = x509.parse(leaf { not_before = 1000000000, not_after = 4102444800 }.certificate)
  test.equal(certificate.not_before, 1000000000)
  test.equal(certificate.not_after, 4102444800) -- in 2100, which is written in another form
  test.raises("not_after", function() leaf { not_before = 10, not_after = 5 } end)
end)

test("verify tells what is wrong", function()
  local ca = x509.authority { name = "test authority" }
  local old = x509.authority { name = "test authority", not_before = 500, not_after = 3000 }
  local pair = x509.issue(old, { names = { "api.example.org", "127.0.0.1" }, not_before = 1000, not_after = 2000 })
  local both = ca.certificate .. old.certificate
  local function check(options, authorities)
    return select(2, x509.verify(pair.certificate, authorities, options))
  end
  test.equal(check({ at = 1500 }, both), nil)
  test.equal(check({ at = 1500, name = "api.example.org", usage = "server" }, both), nil)
  test.equal(check({ at = 1500, name = "127.0.0.1" }, both), nil)
  test.equal(check({ at = 2500 }, both), "certificate has expired")
  test.equal(check({ at = 900 }, both), "certificate is not yet valid")
  test.equal(check({ at = 1500, name = "other" }, both), "hostname mismatch")
  test.equal(check({ at = 1500, name = "127.0.0.2" }, both), "IP address mismatch")
  test.equal(check({ at = 1500, usage = "client" }, both), "unsuitable certificate purpose")
  test.equal(x509.verify(pair.certificate, ca.certificate, { at = 1500 }), false)
end)

test("a chain, an authority that is no root, and a certificate that is in the bundle itself are trusted, as Go does",
  function()
    local function read(...)
      local texts = {}
      for index, name in ipairs { ... } do texts[index] = fs.read("tests/fixtures/x509/" .. name .. ".pem") end
      return table.concat(texts)
    end
    local function check(certificate, authorities)
      return (x509.verify(certificate, authorities, { name = "w.kubeflow.svc", usage = "server", at = 1800000000 }))
    end
    test.equal(check(read("leaf", "intermediate"), read "root"), true)
    test.equal(check(read "leaf", read "intermediate"), true)
    test.equal(check(read "leaf", read "leaf"), true)
    test.equal(check(read "self", read "self"), true)
    test.equal(check(read "leaf", read "root"), false)
    test.equal(check(read("self", "intermediate"), read "root"), false)
    test.equal(check(read("leaf", "root"), read "self"), false)
  end)

test("a key matches its own certificate only", function()
  local one, ca = leaf {}
  local other = x509.issue(ca, { names = { "localhost" } })
  test.equal(x509.matches(one.certificate, one.key), true)
  test.equal(x509.matches(one.certificate, other.key), false)
end)

test("several certificates in a text are all read", function()
  local pair, ca = leaf { name = "leaf" }
  local all = x509.parse_all("a comment\n" .. pair.certificate .. ca.certificate)
  test.equal(#all, 2)
  test.equal(all[1].subject, "leaf")
  test.equal(all[2].subject, "test authority")
end)

test("what is no certificate is refused", function()
  for _, text in ipairs { "", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" } do
    test.raises("Certificate", function() x509.parse(text) end)
    test.raises("Certificate", function() x509.parse_all(text) end)
  end
  local pair = leaf {}
  test.raises("Certificate", function() x509.parse(pair.key) end)
  local broken = { certificate = pair.certificate, key = "x" }
  test.raises("Certificate", function() x509.issue(broken, { names = { "a" } }) end)
  test.raises("names", function() leaf { names = { "a,IP:1.2.3.4" } } end)
  test.raises("names", function() leaf { names = {} } end)
end)

test("the command openssl believes the chain and reads the key", function()
  local folder = test.tmpdir()
  local pair, ca = leaf { names = { "a.svc", "a.svc.cluster.local", "10.0.0.1" } }
  fs.write(folder .. "/ca", ca.certificate)
  fs.write(folder .. "/leaf", pair.certificate)
  fs.write(folder .. "/key", pair.key)
  local verified = proc.run {
    "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "a.svc", "-CAfile",
    folder .. "/ca", folder .. "/leaf",
  }
  test.equal(verified.stdout, folder .. "/leaf: OK\n")
  local key = proc.run { "openssl", "pkey", "-in", folder .. "/key", "-noout", "-text" }
  test.equal(key.stdout:find("prime256v1", 1, true) ~= nil, true)
end)
