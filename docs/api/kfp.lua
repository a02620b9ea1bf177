---@meta kfp
-- Kubeflow Pipelines: what an IR says, judging one, running one on this machine, the client of a server.
-- kfp.try.NAME returns nil and the error instead of raising.

local kfp = {}

---@param text string YAML or JSON
---@return table ir # raises "YAML", "JSON", or "Pipeline" when there is no pipeline in it
function kfp.decode(text) end

---@class kfp.Finding
---@field path string
---@field message string
---@field severity "error"|"warning" error: the server refuses it; warning: only we find it
---@field stage "upload"|"create"|"run" when it shows

---Judges a pipeline as a server would.
---@param ir string|table the text of a file (with the platform's document), or the PipelineSpec
---@param options {parameters: table<string, any>?, platform: table?}? parameters: those of a run to be created
---@return kfp.Finding[]
function kfp.validate(ir, options) end

---Runs a pipeline on this machine, a process per step.
---@param ir string|table the text of an IR, or the table
---@param options table? params, root, jobs, images, python, cache, cwd, volumes, secrets, on_event
---@return {state: "succeeded"|"failed"|"cancelled", outputs: table, metrics: table, tasks: table[], error: any}
function kfp.run(ir, options) end

---@class kfp.Channel where a value comes from

---@class kfp.Builder
local Builder = {}
---@param name string
---@return kfp.Channel a parameter of the pipeline
function Builder:parameter(name) end
---Adds a task. Options: image, command, args, env, inputs (values and channels by name), outputs (types by name:
---"Dataset", "NUMBER_DOUBLE", …), after (names), cache (true), retries, condition (CEL), exit.
---@param name string
---@param options table
---@return table<string, kfp.Channel> outputs # raises "Pipeline"
function Builder:task(name, options) end
---@return table # the PipelineSpec; raises "Pipeline" when a server would refuse it
function Builder:ir() end

---@param name string
---@param options {parameters: table<string, any>?, description: string?}? parameters: defaults by name
---@return kfp.Builder # raises "Pipeline"
function kfp.pipeline(name, options) end

---@class kfp.Client
---@field endpoint string
---@field namespace string?
---@field pipelines kfp.Resource also :by_name(name) :update(id, change)
---@field versions kfp.Resource ids of versions; lists want pipeline_id
---@field experiments kfp.Resource also :archive(id) :unarchive(id) :ensure(name)
---@field runs kfp.Runs
---@field recurring kfp.Resource also :enable(id) :disable(id)
local Client = {}
---What the server says of itself.
---@return table {multi_user, tag_name, …}
function Client:health() end
---Uploads a pipeline once: the same text under the same name is found again.
---@param ir string|table
---@param options {name: string?, description: string?, namespace: string?}?
---@return {pipeline_id: string, version_id: string, name: string, created: boolean}
function Client:upload(ir, options) end
---What is wrong with the way to the server, and what would help: endpoint, token, audience, policies in front, server,
---namespace, rights.
---@return {check: string, ok: boolean, message: string, fix: string?}[]
function Client:diagnose() end
---Any request; JSON goes out and comes back.
---@param method string
---@param path string "/apis/v2beta1/runs"
---@param options {query: table?, body: table?, timeout: any}?
---@return table
function Client:request(method, path, options) end

---@class kfp.Resource
local Resource = {}
---@param id string
---@return table
function Resource:get(id) end
---@param object table
---@return table
function Resource:create(object) end
---@param id string
---@param options table?
function Resource:delete(id, options) end
---All items, page by page. A filter is a table: members are equalities (lists: one of them), elements are
---{key, operator, value} with one of = ~= > >= < <= in contains.
---@param options {filter: string|table|nil, sort_by: string?, page_size: integer?, namespace: string?}?
---@return fun(): table?
function Resource:list(options) end
---@param options table?
---@param token string?
---@return table[] items, string? next_token, integer total
function Resource:page(options, token) end

---@class kfp.Runs: kfp.Resource also :terminate :retry :archive :unarchive
local Runs = {}
---Starts a run exactly once: looked for by its id before and after each attempt, taken over when it is there.
---@param run table with run_id
---@param options {kube: table?, namespace: string?}? kube: a client, to take a second workflow away
---@return table run, "created"|"adopted" how # raises what the server refuses for good
function Runs:start(run, options) end
---Waits until a run is over, in whatever state; lives through a server that is away for up to 10 min.
---@param id string
---@param options {timeout: number|string|nil, on_state: fun(state: string, run: table)?}?
---@return table run # raises "Timeout"
function Runs:wait(id, options) end
---@param run string|table
---@return table[] tasks {name, id, state, node, started, ended, details}
function Runs:tasks(run) end
---@param id string
---@param step string
---@param options {follow: boolean?}? with follow: an iterator over what comes
---@return string|fun(): string?
function Runs:logs(id, step, options) end
---@param id string
---@param options {kube: table?, namespace: string?, metadata: string|function|nil}? where else to look: the logs of
---  the run's pods, the metadata store ("metadata-grpc-service.kubeflow:8080")
---@return {task: string, name: string, value: number, step: integer?, time: string?}[] metrics
---@return "logs"|"pods"|"metadata"|"artifacts"|"run" source
function Runs:metrics(id, options) end
---@param id string
---@return {task: string, direction: string, name: string, ids: string[]}[]
function Runs:artifacts(id) end
---@param id string
---@param node string
---@param name string
---@return string bytes
function Runs:artifact(id, node, name) end

---Connects. Without an endpoint: KF_PIPELINES_ENDPOINT, the cluster around us, a kubeconfig through the API server.
---Errors have gRPC's codes ("NotFound", "PermissionDenied", …); "Denied", "Login", "Protocol" are words of what
---stands in front of KFP. A server that has only the API v1beta1 is asked in its words; what that lacks is
---"Unsupported".
---@param options table? endpoint, namespace, token_file | token | cookie | user | dex {user, password, connector},
---  kubeconfig, context, kube (a client, for diagnose), timeout, tries (of a question; 4), ca, insecure, transport (a
---  function request -> response)
---@return kfp.Client # raises "Auth"
function kfp.connect(options) end

return kfp
