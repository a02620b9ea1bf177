---@meta yaml
-- YAML as Kubernetes reads and writes it (sigs.k8s.io/yaml): plain scalars resolve by YAML 1.1 as
-- go-yaml has it, keys become strings, arrays and objects keep their kind (see json). Errors have code
-- "YAML" and line, column, offset (characters before it), document and path; yaml.try.NAME returns nil
-- and the error instead.

local yaml = {}

---Reads one document; an empty text is json.null.
---@param text string
---@param options {duplicates: "error"|"last"|nil, plain_booleans: boolean?}? plain_booleans: only true
---  and false are booleans; y, no, on and their like are texts, as KFP reads and Python writes them
---@return any # raises "YAML", also for a second document
function yaml.decode(text, options) end

---Reads all documents; empty ones are left out.
---@param text string
---@param options {duplicates: "error"|"last"|nil, plain_booleans: boolean?}?
---@return any[] # raises "YAML"
function yaml.decode_all(text, options) end

---Writes a document: sorted keys, two blanks, the same bytes for the same value.
---@param value any
---@param options {pieces: boolean?}? pieces: a list of texts that are the document one after the other, in which a long
---  text of the value is itself, and not copied
---@return string|string[] # raises "YAML" for what is no YAML value
function yaml.encode(value, options) end

---Writes documents, each after ---.
---@param values any[]
---@return string
function yaml.encode_all(values) end

return yaml
