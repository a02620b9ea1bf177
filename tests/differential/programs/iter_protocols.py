import itertools
import collections
words = "the cat the dog a cat".split()
counts = collections.Counter(words)
common = counts.most_common(2)
print(common)
groups = collections.defaultdict(list)
for w in words:
    groups[len(w)].append(w)
print(dict(groups))
pairs = list(zip(words, words[1:]))
windows = [tuple(itertools.islice(words, i, i + 2)) for i in range(3)]
print(pairs[0], windows)
counts.update(["emu"])
counts["cat"] -= 1
ordered = collections.OrderedDict(sorted(counts.items()))
ordered.move_to_end("cat")
print(list(ordered))
chain = collections.ChainMap({"a": 1}, dict(ordered))
chain["zebra"] = 9
print(chain["zebra"], chain.maps[0])
it = iter(words)
first = next(it)
others = list(it)
print(first, others)
deq = collections.deque(words, maxlen=3)
deq.append("end")
print(list(deq), groups[3] is groups[3])
