# hide: match
# stays: yes
import re
import string
from collections import Counter
TEXT = """The cat sat. The dog sat down!
A cat, a dog; a 'bird'."""
pattern = re.compile(r"[a-z']+", re.I)
words = [w.lower().strip("'") for w in pattern.findall(TEXT)]
counts = Counter(words)
print(counts.most_common(3))
stop = {"a", "the"}
kept = {w: c for w, c in counts.items() if w not in stop}
print(sorted(kept))
counts.update(["cat"])
print(counts["cat"], kept["cat"])
def clean(t):
    return t.translate(table)
table = str.maketrans("", "", string.punctuation)
cleaned = clean(TEXT)
print(cleaned.split("\n")[1])
longest = max(kept, key=len)
stop.add(longest)
print(longest, sorted(stop))
match = pattern.search("  word9")
print(match.group(), match.start())
lengths = {n: [w for w in kept if len(w) == n] for n in sorted({len(w) for w in kept})}
print(lengths)
vowels = sum(ch in "aeiou" for w in words for ch in w)
print(vowels, len(words))
