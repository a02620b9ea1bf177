import math
import json
import types
original = math.sqrt
def patched(x):
    return ("sqrt", x)
math.sqrt = patched
result = math.sqrt(9)
print(result)
math.sqrt = original
plain = math.sqrt(9)
class Reader:
    def read(self): return "a"
def loud(self): return "A!"
Reader.read = loud
reader = Reader()
said = reader.read()
print(said, plain)
reader.read = types.MethodType(lambda self: "own", reader)
own = reader.read()
json.extra = 5
print(own, json.extra)
last = [own, said]
print(last, Reader().read())
