local fs = require "fs"
local test = require "test"

test("a file that was written is read back byte by byte", function()
  local path = fs.join(test.tmpdir(), "a.bin")
  local bytes = "line\n\0\255" .. ("x"):rep(200000)
  fs.write(path, bytes)
  test.equal(fs.read(path), bytes)
end)

test("a write leaves nothing else behind, and keeps the mode of what it replaces", function()
  local dir = test.tmpdir()
  local path = fs.join(dir, "a")
  fs.write(path, "one", { mode = 384 })
  fs.write(path, "two")
  test.same(fs.list(dir), { "a" })
  test.equal(fs.stat(path).mode, 384)
end)

test("a write through a link replaces what the link names", function()
  local dir = test.tmpdir()
  fs.write(fs.join(dir, "real"), "old")
  fs.symlink("real", fs.join(dir, "link"))
  fs.write(fs.join(dir, "link"), "new")
  test.equal(fs.read(fs.join(dir, "real")), "new")
  test.equal(fs.readlink(fs.join(dir, "link")), "real")
end)

test("a write that fails changes nothing and names the path", function()
  local path = fs.join(test.tmpdir(), "missing", "a")
  local err = test.raises("ENOENT", function() fs.write(path, "x") end)
  test.equal(err.path, path)
end)

test("try gives nil and the error", function()
  local bytes, err = fs.try.read "/nonexistent"
  test.equal(bytes, nil)
  test.equal(err.code, "ENOENT")
end)

test("a folder is no file", function()
  test.raises("EISDIR", function() fs.read "/" end)
end)

test("folders are made with their parents, and again without complaint", function()
  local path = fs.join(test.tmpdir(), "a/b/c")
  fs.mkdir(path, { parents = true })
  fs.mkdir(path, { parents = true })
  test.equal(fs.stat(path).type, "directory")
  test.raises("EEXIST", function() fs.mkdir(path) end)
end)

test("a tree is removed, and what its links name stays", function()
  local dir = test.tmpdir()
  fs.mkdir(fs.join(dir, "tree/deep"), { parents = true })
  fs.mkdir(fs.join(dir, "other"))
  fs.write(fs.join(dir, "other/kept"), "x")
  fs.symlink("../other", fs.join(dir, "tree/link"))
  test.equal(fs.remove(fs.join(dir, "tree"), { recursive = true }), true)
  test.same(fs.list(dir), { "other" })
  test.equal(fs.exists(fs.join(dir, "other/kept")), true)
  test.equal(fs.remove(fs.join(dir, "tree")), false)
end)

test("appended bytes come last", function()
  local path = fs.join(test.tmpdir(), "log")
  fs.append(path, "a")
  fs.append(path, "b")
  test.equal(fs.read(path), "ab")
end)

test("a copy has the bytes and the mode", function()
  local dir = test.tmpdir()
  fs.write(fs.join(dir, "a"), "#!/bin/sh\n", { mode = 493 })
  fs.copy(fs.join(dir, "a"), fs.join(dir, "b"))
  test.equal(fs.read(fs.join(dir, "b")), "#!/bin/sh\n")
  test.equal(fs.stat(fs.join(dir, "b")).mode, 493)
end)

test("a link is seen as itself when it is not followed", function()
  local dir = test.tmpdir()
  fs.symlink("nowhere", fs.join(dir, "link"))
  test.equal(fs.stat(fs.join(dir, "link")), nil)
  test.equal(fs.stat(fs.join(dir, "link"), { follow = false }).type, "link")
end)

test("a path with a zero byte is refused", function()
  test.raises("zero bytes", function() fs.read "a\0b" end)
end)

test("paths are joined and taken apart", function()
  for _, case in ipairs {
    { fs.join("a", "b"), "a/b" }, { fs.join("a/", "b"), "a/b" }, { fs.join("a", "/b"), "/b" },
    { fs.join("", "a", "", "b"), "a/b" }, { fs.join("/", "a"), "/a" },
    { fs.dirname "/a/b", "/a" }, { fs.dirname "a", "." }, { fs.dirname "/a", "/" },
    { fs.dirname "/", "/" }, { fs.dirname "a/b/", "a" }, { fs.dirname "a//b", "a" },
    { fs.basename "/a/b", "b" }, { fs.basename "a/b/", "b" }, { fs.basename "/", "/" },
    { fs.stem "/a/b.tar.gz", "b.tar" }, { fs.stem ".profile", ".profile" }, { fs.stem "a", "a" },
    { fs.extension "/a/b.tar.gz", ".gz" }, { fs.extension ".profile", "" },
    { fs.extension "a.d/b", "" },
  } do
    test.equal(case[1], case[2])
  end
end)

test("a list of texts is written one after the other, or nothing is", function()
  local path = fs.join(test.tmpdir(), "a")
  fs.write(path, { "one", "", "two" })
  test.equal(fs.read(path), "onetwo")
  assert(not pcall(fs.write, path, { "three", 4 }))
  test.equal(fs.read(path), "onetwo")
end)
