class Config(dict):
    __getattr__ = dict.__getitem__
    def __setattr__(self, key, value):
        self[key] = value
config = Config(rate=1)
config.epochs = 5
config
class Proxy:
    def __init__(self, target):
        self.__dict__["target"] = target
    def __getattr__(self, name):
        return getattr(self.target, name, lambda *a: name)
    def __repr__(self):
        return "proxy of %r" % (self.target,)
items = [1]
proxy = Proxy(items)
proxy
proxy.append(2)
proxy
print(items, proxy.nothing())
class Strict:
    def __getattr__(self, name):
        raise RuntimeError("no " + name)
    def __repr__(self):
        return "strict"
strict = Strict()
strict
class Pretty:
    def __repr__(self):
        return "Pretty"
    def __eq__(self, other):
        return NotImplemented
    __hash__ = None
pretty = Pretty()
pretty
config["more"] = [pretty]
len(config.more), config.rate
config.rate += 1
print(config["rate"], sorted(config))
