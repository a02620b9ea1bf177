import collections
import types
prices = {"a": 1, "b": 2}
keys, values, items = prices.keys(), prices.values(), prices.items()
print(list(keys), list(values), list(items))
prices["c"] = 3
print(len(keys), "c" in keys, sum(values))
ordered = collections.OrderedDict(x=1, y=2)
names = ordered.keys()
ordered.move_to_end("x")
print(list(names), list(reversed(names)))
frozen = types.MappingProxyType(prices)
prices["d"] = 4
print(frozen["d"], len(frozen), sorted(frozen.keys() & {"a", "d"}))
both = {"keys": keys, "items": items}
del prices["a"]
print(list(both["keys"]), sorted(both["items"] - {("b", 2)}))
chain = collections.ChainMap({}, prices)
chain["z"] = 26
print(sorted(chain), "z" in prices, chain["b"])
prices["b"] = 20
print(chain["b"], dict(items)["b"])
counts = collections.Counter("banana")
common = counts.most_common(1)
counts.update("nnn")
print(common, counts["n"], list(counts.elements())[:3])
default = collections.defaultdict(list)
default["x"].append(1)
inner = default["x"]
inner.append(2)
print(default, inner is default["x"])
total = sum(values)
print(total, list(zip(keys, values)))
