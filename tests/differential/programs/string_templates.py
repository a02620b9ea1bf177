# stays: yes
# hide: match
import re
import string
import textwrap
pattern = re.compile(r"(?P<k>\w+)=(?P<v>\d+)")
text = "a=1 b=22, c=x"
found = {m["k"]: int(m["v"]) for m in pattern.finditer(text)}
print(found)
template = string.Template("$who has $n")
line = template.substitute(who="ann", n=found["b"])
print(line)
width = 20
table = "\n".join(f"{k:<{width // 4}}|{v!r:>{4}}" for k, v in found.items())
print(table)
match = pattern.search(text, 4)
where = match.span()
print(where, match.groupdict())
wrapped = textwrap.dedent("""
    x
      y""").strip()
print(f"{wrapped=} {len(wrapped)=:>5}")
nested = f"{'-'.join(f'{k}{v}' for k, v in sorted(found.items()))}"
print(nested)
