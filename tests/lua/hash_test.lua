local hash = require "hash"
local test = require "test"

test("digests are those of the standard", function()
  test.equal(hash.sha256 "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
  test.equal(hash.sha256 "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  test.equal(hash.sha256(("a"):rep(1000000)), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
  test.equal(hash.sha1 "", "da39a3ee5e6b4b0d3255bfef95601890afd80709")
  test.equal(hash.sha1 "abc", "a9993e364706816aba3e25717850c26c9cd0d89d")
  test.equal(hash.sha1(("a"):rep(1000000)), "34aa973cd4c4daa4f61eeb2bdbad27316534016f")
end)

test("digests are right at every length around a block", function()
  test.equal(hash.sha256(("x"):rep(55)):sub(1, 16), "d5e285683cd4efc0")
  test.equal(hash.sha1(("x"):rep(55)):sub(1, 16), "cef734ba81a02447")
  test.equal(hash.sha256(("x"):rep(56)):sub(1, 16), "04c26261370ee754")
  test.equal(hash.sha1(("x"):rep(56)):sub(1, 16), "901305367c259952")
  test.equal(hash.sha256(("x"):rep(63)):sub(1, 16), "75220b47218278e6")
  test.equal(hash.sha1(("x"):rep(63)):sub(1, 16), "0ddc4e0cccd9a128")
  test.equal(hash.sha256(("x"):rep(64)):sub(1, 16), "7ce100971f64e700")
  test.equal(hash.sha1(("x"):rep(64)):sub(1, 16), "bb2fa3ee7afb9f54")
  test.equal(hash.sha256(("x"):rep(65)):sub(1, 16), "9537c5fdf120482f")
  test.equal(hash.sha1(("x"):rep(65)):sub(1, 16), "78c741ddc482e4cd")
  test.equal(hash.sha256(("x"):rep(119)):sub(1, 16), "000b48d4edf0fa7b")
  test.equal(hash.sha1(("x"):rep(119)):sub(1, 16), "4300320394f7ee23")
  test.equal(hash.sha256(("x"):rep(120)):sub(1, 16), "13f05a0b594787f5")
  test.equal(hash.sha1(("x"):rep(120)):sub(1, 16), "ceb2821639c4b6dc")
  test.equal(hash.sha256(("x"):rep(128)):sub(1, 16), "24da1b81d0b16df6")
  test.equal(hash.sha1(("x"):rep(128)):sub(1, 16), "150fa3fbdc899bd0")
end)

test("base64 goes there and back for every byte and every remainder", function()
  local bytes = {}
  for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
  local all = table.concat(bytes)
  for length = 0, 256 do
    local part = all:sub(1, length)
    test.equal(hash.unbase64(hash.base64(part)), part)
  end
  test.equal(hash.base64 "f", "Zg==")
  test.equal(hash.base64 "fo", "Zm8=")
  test.equal(hash.base64 "foobar", "Zm9vYmFy")
  test.equal(hash.unbase64 "Zm9v\r\n YmFy\n", "foobar")
end)

test("a base64 text that is not exact is refused at its place", function()
  for _, case in ipairs {
    { "Zg", 2 }, { "Zg=", 3 }, { "Z===", 1 }, { "=", 0 }, { "Zg==Zg==", 4 }, { "Zm9v=", 4 }, { "Zh==", 4 },
    { "Zm9=", 4 }, { "Zm9v-_8=", 4 }, { "Zm\0=", 2 }, { "Zg===", 4 },
  } do
    local err = test.raises("Base64", function() hash.unbase64(case[1]) end)
    test.equal(err.offset, case[2])
  end
end)

test("a name in a namespace has one UUID", function()
  local dns = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
  test.equal(hash.uuid5(dns, "python.org"), "886313e1-3b8a-5372-9b90-0c9aee199e5d")
  test.equal(hash.uuid5(dns:upper(), "python.org"), "886313e1-3b8a-5372-9b90-0c9aee199e5d")
  test.raises("UUID expected", function() hash.uuid5("6ba7b810", "x") end)
end)

test("random digits are as many as asked for, and not the same twice", function()
  local one = hash.random_hex(16)
  test.equal(#one, 32)
  test.equal(one:match "^%x+$", one)
  assert(one ~= hash.random_hex(16))
  test.raises("expected", function() hash.random_hex(0) end)
end)

test("CRC-32C is that of RFC 3720", function()
  local up, down = {}, {}
  for i = 0, 31 do up[i + 1], down[32 - i] = string.char(i), string.char(i) end
  for text, sum in pairs { [""] = 0, ["123456789"] = 0xe3069283, [("\0"):rep(32)] = 0x8a9136aa,
    [("\255"):rep(32)] = 0x62a8ab43, [table.concat(up)] = 0x46dd794e, [table.concat(down)] = 0x113fdb5c } do
    test.equal(hash.crc32c(text), sum)
  end
end)
