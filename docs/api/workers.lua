---@meta workers
-- The processes of a service, from within: a supervisor without Lua starts a controller and workers with the words of
-- this command line, replaces what dies, and kills what is busy for longer than it said.

local workers = {}

---@alias workers.Box "certificate"|"cache"|"sources"|"paths"|"totals"|"report"|integer text that one process publishes; a number:
---  that slot's report

---This process becomes the supervisor; never returns. SIGHUP starts new workers and lets the old ones finish when the
---new ones are ready; SIGTERM lets all finish.
---@param options { address: string, port: integer, operations_port: integer, workers: integer, leave: number? } leave:
---  seconds after SIGTERM in which it goes on, so that callers learn that it leaves; raises the errno's name
function workers.supervise(options) end

---@return "controller"|"worker"|nil role nil: this process has no supervisor
function workers.role() end

---Says that this process can serve.
function workers.ready() end

---@return boolean draining whether it is to finish and end
function workers.draining() end

---Is busy with what the labels say, and is killed when it still is after that time.
---@param seconds number
---@param ... string
function workers.begin(seconds, ...) end

---Is busy no more.
function workers.done() end

---@param name "webhook"|"operations"
---@return integer fd a descriptor of its own for server.listen
function workers.listener(name) end

---@param name "webhook"|"operations"
---@return integer port
function workers.port(name) end

---@param box workers.Box one process at a time publishes in a box
---@param text string raises "TooLarge"
function workers.publish(box, text) end

---@param box workers.Box
---@param version integer? that is known
---@return string? text nil when there is nothing newer
---@return integer? version
function workers.read(box, version) end

---@return boolean leaving whether the service was told to end
function workers.leaving() end

---@param box workers.Box
---@return integer version of what was published last; 0 when nothing was
function workers.version(box) end

---Of the processes that are to have loaded the same, the first one that asks reads it, and publishes it as "sources" for
---those that come later: what has changed on disk since is not for them.
---@return boolean first
function workers.claim() end

---Asks for what SIGHUP asks for: new processes, which load everything anew.
function workers.reload() end

---Says that the cache is up to date now.
function workers.touch() end

---@return number? seconds since the cache was up to date; nil when it never was
function workers.age() end

---@return { slot: integer, pid: integer, role: string, generation: integer, ready: boolean, draining: boolean, busy: boolean }[]
function workers.list() end

---Workers that have ended, whose last report was not taken yet: it stays in its slot until then.
---@return { slot: integer, pid: integer }[]
function workers.ended() end

---The report of the worker that has ended there was taken.
---@param slot integer
function workers.taken(slot) end

---From now on this process opens no file and makes no connection, starts nothing, and uses no more than this.
---@param options { files: integer?, memory: integer? } raises "Unsupported"
function workers.lock(options) end

return workers
