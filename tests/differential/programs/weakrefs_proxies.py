# stays: yes
# hide: ref cache
import weakref
import copyreg
class Node:
    def __init__(self, name, parent=None):
        self.name, self.children = name, []
        self.parent = weakref.ref(parent) if parent else None
        if parent: parent.children.append(self)
    def up(self): return self.parent() if self.parent else None
    def __getstate__(self): return {"name": self.name, "children": self.children}
    def __setstate__(self, state):
        self.__dict__.update(state)
        self.parent = None
        for child in self.children:
            child.parent = weakref.ref(self)
root = Node("root")
leaf = Node("leaf", root)
print(leaf.up().name, root.up())
twig = Node("twig", leaf)
names = [n.name for n in (root, leaf, twig)]
print(names, twig.up() is leaf)
ref = weakref.ref(root)
alive = ref() is root
print(alive)
cache = weakref.WeakValueDictionary(a=root)
print(len(cache))
root.name = "top"
print(leaf.up().name, twig.up().up() is root)
