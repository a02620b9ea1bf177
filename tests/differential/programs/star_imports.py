from math import *
from os.path import *
from itertools import chain as link, count
import os.path
import xml.dom.minidom as dom
root = sqrt(16)
print(root, floor(2.7))
path = join("a", "b")
print(basename(path), os.path.dirname(path), os.sep == "/")
doc = dom.parseString("<a><b/></a>")
tags = [n.tagName for n in doc.documentElement.childNodes]
del doc
print(tags)
linked = list(link([1], [2]))
counted = [i for i, _ in zip(count(5), range(3))]
print(linked, counted)
def hyp(a, b):
    return sqrt(a * a + b * b)
print(hyp(3, 4), pi)
import collections.abc, json.decoder
print(isinstance([], collections.abc.Sequence), json.dumps({"a": 1}))
e = 2
print(e + 1)
