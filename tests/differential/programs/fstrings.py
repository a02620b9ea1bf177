name, width = "ada", 8
value = 3.14159
parts = {"k": 1}
text = f"{name!r:>{width}}|{value:.2f}|{parts['k']}"
print(text)
debug = f"{width=}"
nested = f"{f'{name}' + '!'}"
print(debug, nested)
def fmt(x):
    return f"{x:{width}.1f}"
print(fmt(2))
width = 4
print(fmt(2))
lines = f"""
{name.upper()}
{[f'{i}-{name}' for i in range(2)]}
"""
print(lines)
template = "{n}-{w}"
print(template.format(n=name, w=width))
joined = "".join(f"{c}." for c in name)
print(joined, f"{(lambda q: q + width)(1)}")
