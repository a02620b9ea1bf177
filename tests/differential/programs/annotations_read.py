import typing
count: int = 1
class Item:
    size: float = 2.0
    name: str
print(sorted(__annotations__))
label: "str" = "a"
known = dict(__annotations__)
print(known["label"], Item.__annotations__["name"].__name__)
if count:
    flag: bool = True
def declared():
    inner: int = 0
    return list(__annotations__)
print(declared())
later: typing.Optional[Item]
print(declared()[-1], len(__annotations__))
del count
print("count" in __annotations__)
__annotations__["extra"] = bytes
print(declared())
hints = typing.get_type_hints(Item)
other: list = [hints["size"]]
print(sorted(known), len(declared()), other)
