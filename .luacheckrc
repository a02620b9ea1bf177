-- Every script is a module or a chunk: no globals but Lua's own.
std = "lua54"
max_line_length = 120
exclude_files = { "build", "**/node_modules" }
files["tests/lua/**"] = { read_globals = {} }
