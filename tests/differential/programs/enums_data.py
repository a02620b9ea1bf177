import enum
import dataclasses
from dataclasses import dataclass, field
from collections import namedtuple, defaultdict, OrderedDict, Counter, deque
class Color(enum.Enum):
    RED = 1
    BLUE = enum.auto()
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2
@dataclass(order=True)
class Item:
    price: float
    name: str = field(compare=False, default="")
    tags: list = field(default_factory=list)
Pair = namedtuple("Pair", "left right")
chosen = Color.BLUE
levels = {Level.HIGH: "h", Level.LOW: "l"}
items = [Item(2.0, "b"), Item(1.0, "a", ["x"])]
pair = Pair(items[0], chosen)
print(chosen is Color.BLUE, chosen, levels[Level.LOW])
print(sorted(items)[0].name, pair.left.price, pair.right.name)
words = Counter("mississippi")
dd = defaultdict(list)
dd["k"].append(pair)
ring = deque([1, 2, 3], maxlen=3)
ring.append(4)
print(words.most_common(2), dd["k"][0].left is items[0], ring)
items[0].price = 0.5
print(pair.left.price, dataclasses.asdict(items[1]))
dd["new"].append(1)
print(sorted(dd), isinstance(pair, Pair), isinstance(items[0], Item))
