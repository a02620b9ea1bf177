---@meta test

---What a test file says and checks with; `kfhost test` runs such files.
---Calling it names a test: `test("a sentence", function() … end)`.
---@class test
---@overload fun(name: string, run: fun())
local test = {}

---Checks that got == want (not-a-number equals itself); a failure shows both.
---@param got any
---@param want any
function test.equal(got, want) end

---Checks that two values hold the same; a failure names the path of the first difference.
---@param got any
---@param want any
function test.same(got, want) end

---Checks that the function raises an error table of this code, or an error whose text the pattern finds.
---@param expected string?
---@param run fun()
---@return any err what it raised
function test.raises(expected, run) end

---Checks a text against the file NAME of the folder `golden` beside the folder of the test file.
---`kfhost test --update-golden` writes the file instead.
---@param name string
---@param text string
function test.golden(name, text) end

---A new, empty directory that is removed when the test ends.
---@return string path
function test.tmpdir() end

---Moves the clock of the test's loop; timers that become due run in their order.
---@param seconds number
function test.advance(seconds) end

---Ends the test as skipped; the run fails unless `--allow-skip NAME` names the test.
---@param reason string
function test.skip(reason) end

---For the runner: the tests that the loaded file has named.
---@return { name: string, run: fun() }[]
function test.registered() end

---For the runner: sets the surroundings of the test that runs next.
---@param context { directories: string[], golden: string, update: boolean }?
function test.set_context(context) end

return test
