class Vec:
    def __init__(self, *v):
        self.v = list(v)
    def __add__(self, o):
        return Vec(*(a + b for a, b in zip(self.v, o.v)))
    def __iadd__(self, o):
        self.v = [a + b for a, b in zip(self.v, o.v)]
        return self
    def __getitem__(self, i):
        return self.v[i]
    def __setitem__(self, i, x):
        self.v[i] = x
    def __delitem__(self, i):
        del self.v[i]
    def __contains__(self, x):
        return x in self.v
    def __call__(self, k):
        self.v = [a * k for a in self.v]
        return self
    def __matmul__(self, o):
        return sum(a * b for a, b in zip(self.v, o.v))
    def __len__(self):
        return len(self.v)
u, w = Vec(1, 2), Vec(3, 4)
s = u + w
same = u
u += w
print(u.v, same.v, s.v)
u[0] = 10
del w[1]
print(same[0], len(w), 3 in w)
u(2)
print(same.v, u @ s)
zipped = [*zip(u, s)]
print(zipped)
both = [u, w]
both[1](5)
print(w.v, s.v)
