x = 1; y = 2
if x: z = 3
else: z = 4
print(x, y, z)
long = [
    1,
    # comment in the middle
    2,

    3,
]
def one_liner(a, b=2): return a + b
class Empty: pass
print(one_liner(1), len(long))
text = '''first
  # not a comment
last'''
print(text)
for i in range(2): z += i
with_backslash = 1 + \
    2
print(z, with_backslash)
def documented():
    """Docs.

    More docs.
    """

    return "ok"
print(documented(), documented.__doc__.split()[0])
ünïcode = "ok"; λ = lambda: ünïcode
print(λ(), Empty().__class__.__name__)
if True:
	tabbed = "yes"
print(tabbed)
lambda: 0
print(i)
