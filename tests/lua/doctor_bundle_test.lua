-- What the doctor packs for a support engineer, and what of it is masked.
local test = require "test"
local json = require "json"
local report_of = dofile("tests/lua/support/doctor.lua").report_of

-- A text, and what of it may not be seen: each stands where people put such things.
local CANARIES = {
  "DB_PASSWORD=canary", "password: canary word two", "  secret: 'canary \\' word'", '{"password":"can\\"ary"}',
  '{"auths":{"registry.example":{"auth":"Y2FuYXJ5OmNhbmFyeQ=="}}}', "token: >-\n  canary\n  canary\nnext: kept",
  "api_key = canary", "Authorization: Bearer canary", "authorization: Basic Y2FuYXJ5",
  "Cookie: authservice=canary; a=canary",
  "https://canary:canary@host/path", "postgres://canary@host", "curl https://h/?access_token=canary&x=kept",
  "https://h/?X-Amz-Signature=canary", "aws_secret_access_key = canary", "    client-key-data: Y2FuYXJ5",
  "machine h login me password canary", "<dbPassword>canary</dbPassword>", "hf_canarycanary", "ghp_canarycanary",
  "eyJjYW5hcnk.eyJjYW5hcnk.Y2FuYXJ5", "AccountKey=canary;EndpointSuffix=kept",
  "-----BEGIN RSA PRIVATE KEY-----\nY2FuYXJ5\n-----END RSA PRIVATE KEY-----",
  "-----BEGIN OPENSSH PRIVATE KEY-----\nY2FuYXJ5\ncut off",
  '\\"token\\": \\"canary\\"', "export MINIO_SECRET_KEY='canary'",
  "level=info password=\"canary two\" x=kept", "refresh-token:canary",
  "password: |\n    canary\n    canary\n", "KEY_PASSPHRASE=canary", "PGPWD=canary", "private_key: canary",
  "encryption-key=canary", "googleCredentials=canary", "Authorization: canary", "https://h/?sv=1&sig=canary",
  "JSESSIONID=canary", "accountSas=canary", "connectionString: canary", "github_pat_canary", "glpat-canarycanary",
  "xoxb-canary-canary", "AIzacanary", "sk-canarycanary",
}
local GONE = { "canary", "Y2FuYXJ5", "jYW5hcnk" }

test("what must not be seen is masked, wherever people put it; the rest of the text is left", function()
  local masked = require "doctor.masked"
  for _, text in ipairs(CANARIES) do
    local said = masked.text(text)
    for _, secret in ipairs(GONE) do assert(not said:find(secret, 1, true), text .. " became " .. said) end
    assert(said:find("(hidden)", 1, true), said)
    assert(not text:find "kept" or said:find "kept", text .. " became " .. said)
    test.equal(masked.text(said), said)
  end
  local plain = "epoch 3: accuracy=0.93 tokens=512 secretName: mysql\nkey: value\nimage: ghcr.io/a/b@sha256:01\n"
    .. "authors: me\nserviceAccountToken:\n  audience: kept\nmountPath: /var/run/secrets/token\n"
  test.equal(masked.text(plain), plain)
  for _, piece in ipairs { "x=1 ", "x", "a.b-c_", "\n", "password=\n", "//", "<a>", '\\"', "eyJ", "hf_a",
    "-----BEGIN", "login password " } do -- in linear time
    local huge = piece:rep(400000 // #piece)
    test.equal(masked.text(huge), huge)
  end
end)

test("arguments, variables, annotations and settings of objects are masked", function()
  local masked = require "doctor.masked"
  local said = json.encode(masked.object { apiVersion = "v1", kind = "Pod", metadata = { name = "p", annotations = {
    ["kubectl.kubernetes.io/last-applied-configuration"] = '{"x":"canary"}', note = "password=canary" } },
    spec = { volumes = { { name = "t", projected = { sources = { { serviceAccountToken = { path = "token" } } } } } },
      containers = { { name = "main", command = { "run", "--password", "canary", "--token=canary", "--name", "kept" },
        args = { "mysql://u:canary@db" }, env = { { name = "PGPASSWORD", value = "canary" },
          { name = "A", value = "kept" }, { name = "URL", value = "https://canary@h" } } } } } }, { sort = true })
  assert(not said:find("canary", 1, true), said)
  for _, kept in ipairs { '"--name","kept"', '"value":"kept"', '"path":"token"' } do
    assert(said:find(kept, 1, true), kept)
  end
end)

test("a bundle has findings, objects and logs, and no secret; only its owner may read it", function()
  local r, fs = dofile("tests/lua/support/repl.lua").new(), require "fs"
  r:make { apiVersion = "v1", kind = "Secret", metadata = { name = "s", namespace = "default" },
    data = { password = "Y2FuYXJ5" } }
  r:make { apiVersion = "v1", kind = "ConfigMap", metadata = { name = "katib-config", namespace = "default" }, data = {
    ["config.yaml"] = "other: kept\n" .. table.concat(CANARIES, "\n") } }
  local path = fs.join(test.tmpdir(), "support.tar.gz")
  local made = require("doctor.support").write(r.client, path, report_of({}, { about = { server = "lab" } }))
  local text = require("proc").run { "tar", "-xzOf", path }.stdout
  assert(text:find("other: kept", 1, true) and text:find("Nothing is wrong", 1, true))
  for _, secret in ipairs(GONE) do assert(not text:find(secret, 1, true), secret) end
  test.same({ made.logs, fs.exists(path .. ".partial"), fs.stat(path).mode & 63 }, { 0, false, 0 })
end)
