parts = []
def add(fmt, *args):
    parts.append(fmt % args)
add("%d%%", 5)
add("%s", "a%b")
x = 10
y = (x
     % 3)
print(parts, y)
text = "line one\n" \
       "line two"
print(text.count("\n"))
quote = 'He said "hi!" and %s' % "left"
print(quote)
raw = r"\d+\n"
multi = """
%matplotlib is not a magic here
!neither is this
"""
print(raw, multi.strip().splitlines()[1])
cond = "yes" if x else "no"
x = x; z = x * 2; print(z)
add("%s", cond)
print(parts)
byte = rb"\x00"
joined = ("a" "b"
          "c")
print(joined, byte, len(multi))
what = "?"
print(what)
