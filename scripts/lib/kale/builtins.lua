-- Names that every step has: Python's builtins, display and get_ipython.
-- Not for what the notebook imports.
--   builtins.has("aiter", 9)  -- false: Python 3.9 has none
local M = {}

local names = {}
for name in ([[__name__ __doc__ __file__ __builtins__ __spec__ __package__ __loader__ __import__ __build_class__
  __debug__ __annotations__ __dict__
  ArithmeticError AssertionError AttributeError BaseException BlockingIOError BrokenPipeError
  BufferError BytesWarning ChildProcessError ConnectionAbortedError ConnectionError ConnectionRefusedError
  ConnectionResetError DeprecationWarning EOFError Ellipsis EnvironmentError Exception
  False FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit IOError
  ImportError ImportWarning IndentationError IndexError InterruptedError IsADirectoryError KeyError
  KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError None NotADirectoryError NotImplemented
  NotImplementedError OSError OverflowError PendingDeprecationWarning PermissionError ProcessLookupError
  RecursionError ReferenceError ResourceWarning RuntimeError RuntimeWarning StopAsyncIteration StopIteration
  SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError True TypeError UnboundLocalError
  UnicodeDecodeError UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError
  Warning ZeroDivisionError abs all any ascii bin bool breakpoint bytearray bytes callable chr
  classmethod compile complex copyright credits delattr dict dir divmod enumerate eval exec exit filter float
  format frozenset getattr globals hasattr hash help hex id input int isinstance issubclass iter len license
  list locals map max memoryview min next object oct open ord pow print property quit range repr reversed round
  set setattr slice sorted staticmethod str sum super tuple type vars zip
  display get_ipython __class__]]):gmatch "%S+" do names[name] = 0 end

-- Those that came later, with the minor version of Python 3.
for name, minor in pairs {
  aiter = 10, anext = 10, EncodingWarning = 10, BaseExceptionGroup = 11, ExceptionGroup = 11,
  PythonFinalizationError = 13,
} do names[name] = minor end

---@param name string
---@param minor integer? of Python 3, any when it is not known
---@return boolean
function M.has(name, minor)
  local since = names[name]
  return since ~= nil and (minor == nil or since <= minor)
end

---The minor version that a container image's name tells.
---@param image string?
---@return integer?
function M.minor_of(image)
  local minor = image and image:match "python:3%.(%d+)"
  return minor and math.tointeger(tonumber(minor))
end

return M
