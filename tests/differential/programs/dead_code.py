value = 1
unused = [1, 2]
if value > 10:
    other = value
else:
    other = 5
print(value, other)
for never in ():
    ghost = never
try:
    ghost
except NameError:
    ghost = "made"
print(ghost)
def not_called():
    return nowhere + 1
def called(flag=False):
    if flag:
        return nowhere
    return other
print(called())
while False:
    pass
result = called() if other else not_called()
print(result)
pass
"a string statement"
...
other = None
print(called(), unused)
assert called() is None
