import sys
answers = {"life": 42}
def __getattr__(name):
    if name in answers:
        return answers[name]
    raise AttributeError(name)
def ask(name):
    return getattr(sys.modules["__main__"], name, None)
print(ask("life"))
answers["death"] = 0
print(ask("death"), ask("taxes"))
plain = 5
print(ask("plain"))
from math import *
root = sqrt(16) + floor(2.5)
print(root, pi > 3)
from string import ascii_lowercase as letters, digits
print(letters[:3], digits[-1])
def total():
    global plain, extra
    plain += 1
    extra = plain * 2
    return extra
print(total(), plain, extra)
def forget():
    global extra
    del extra
forget()
print("extra" in dir(), plain)
extra = total()
print(extra, plain, ask("plain"))
level = 0
def nested():
    global level
    def inner():
        global level
        level += 10
        return level
    return inner() + level
print(nested(), level)
