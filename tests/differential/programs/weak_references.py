import gc
import weakref
class Node:
    def __init__(self, name, parent=None):
        self.name = name
        self.parent = weakref.ref(parent) if parent else None
        self.children = []
        if parent:
            parent.children.append(self)
root = Node("root")
leaf = Node("leaf", root)
print(leaf.parent().name)
ref = weakref.ref(leaf)
print(ref() is leaf)
cache = weakref.WeakValueDictionary(root=root)
print(sorted(cache), cache["root"] is root)
seen = weakref.WeakSet([root, leaf])
print(len(seen))
names = weakref.WeakKeyDictionary({leaf: "the leaf"})
print(names[leaf], len(root.children))
deaths = []
finalizer = weakref.finalize(root, deaths.append, "root")
print(finalizer.alive)
leaf.name = "twig"
print(ref().name, [c.name for c in root.children])
del leaf
root.children.clear()
gc.collect()
print(ref(), len(seen), deaths)
