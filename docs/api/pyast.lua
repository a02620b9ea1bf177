---@meta pyast
-- Python source as flat arrays: syntax tree, notebook magics, scopes by CPython's rules.
-- Nodes, scopes and occurrences are 1-based indices; offsets are 1-based bytes, both ends included.
-- Errors have code "PYAST" and, for malformed UTF-8, offset, line and column.

local pyast = {}

---@class pyast.Problem
---@field line integer
---@field column integer in characters, 1-based
---@field first integer
---@field last integer first - 1 where something is missing
---@field message string

---Nodes in preorder, named and anonymous ones (an operator or a keyword has its own text as kind:
---"async", "del", "*", "+="). Kinds and fields are those of the grammar tree-sitter-python.
---@class pyast.Tree
---@field source string
---@field count integer
---@field kind string[]
---@field named boolean[] false for operators, keywords and punctuation
---@field parent integer[] 0 for the root
---@field field (string|false)[] its role in the parent ("left", "body", …)
---@field first integer[]
---@field last integer[]
---@field next integer[] the index after the node's subtree
---@field errors pyast.Problem[]

---Parses any text; what is not Python is listed in `errors`.
---@param source string UTF-8
---@return pyast.Tree # raises "PYAST" for malformed UTF-8 or more than 1 GiB
function pyast.parse(source) end

---@param source string
---@param offset integer 1 … #source + 1
---@return integer line 1-based
---@return integer column 1-based, in characters
function pyast.position(source, offset) end

---The name as Python knows it: in normal form NFKC (PEP 3131), so that `ﬁt` is `fit`.
---@param name string
---@return string
function pyast.identifier(name) end

---@class pyast.Magic
---@field line integer
---@field first integer
---@field last integer
---@field kind "line"|"cell"|"shell"|"help" %name, %%name (the whole rest of the cell), !command, ?name
---@field text string as written, without the assignment before it
---@field name string? what is assigned: `files = !ls` has "files" (all before the last "=")

---Replaces IPython's magics and shell lines by spaces; line ends and the length stay.
---Strings, brackets and continued lines are left alone. Of `x = !ls` the assignment stays, as `x = 0`
---padded by spaces.
---@param source string
---@return string source
---@return pyast.Magic[]
function pyast.blank(source) end

---Flags as the module symtable of CPython 3.11 derives them; absent means false.
---@class pyast.Name
---@field scope "local"|"cell"|"free"|"global implicit"|"global explicit" where the name lives
---@field local? true
---@field global? true implicit or explicit; at module level every bound name
---@field declared_global? true by a `global` statement
---@field nonlocal? true by a `nonlocal` statement (or a walrus in a comprehension)
---@field free? true
---@field cell? true
---@field parameter? true
---@field imported? true
---@field assigned? true stored, deleted, defined by def or class
---@field annotated? true
---@field referenced? true

---@class pyast.Scope
---@field kind "module"|"function"|"class"|"lambda"|"comprehension"|"type parameters"
---@field name string "top", the name, "lambda", "genexpr", "listcomp", "setcomp", "dictcomp"
---@field node integer
---@field parent integer 0 for the module
---@field line integer of `def`, `class`, `lambda` or the opening bracket (not of decorators)
---@field names table<string, pyast.Name> private names of classes are mangled

---Every occurrence of a name, in order of evaluation: values before targets, a function's
---decorators, defaults and annotations before its name, its body after. Annotations under
---`from __future__ import annotations` are not evaluated and give no occurrence.
---@class pyast.Occurrences
---@field count integer
---@field node integer[] its identifier, or the node that implies it
---@field name string[] mangled
---@field scope integer[] where it is written (a walrus: in its comprehension)
---@field context ("load"|"store"|"delete"|"update"|"parameter"|"import"|"definition"|"global"|"nonlocal"|"annotation")[]
---  update: augmented assignment (reads and stores); annotation: `x: int` without a value
---@field resolved integer[] the scope that holds the variable; 0 for a global or builtin. At module
---  level always 0
---@field conditional boolean[] true within if, for, while, try, match, a boolean operator's right side …
---  of the scope it is written in: it may not happen
---@field mutation ("store"|"delete"|"call"|false)[] for a load that is the root of `x.a[0] = …`,
---  `del x[0]`, `x.append(1)` (call: a method of it is called)

---@param tree pyast.Tree|string
---@return pyast.Scope[] scopes the module first
---@return pyast.Occurrences occurrences
function pyast.scopes(tree) end

return pyast
