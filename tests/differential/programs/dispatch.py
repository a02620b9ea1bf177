import functools
from abc import ABC, abstractmethod
@functools.singledispatch
def describe(x):
    return "thing"
@describe.register
def _(x: int):
    return f"int {x}"
@describe.register(list)
def _(x):
    return f"list of {len(x)}"
print(describe(1), describe([1, 2]), describe("s"))
class Animal(ABC):
    count = 0
    @abstractmethod
    def sound(self):
        ...
    def speak(self):
        return f"{type(self).__name__} says {self.sound()}"
class Dog(Animal):
    def sound(self):
        return bark
class Cat(Animal):
    def sound(self):
        return "meow"
bark = "woof"
pets = [Dog(), Cat()]
print([p.speak() for p in pets])
bark = "arf"
lines = [p.speak() for p in pets]
print(lines, issubclass(Cat, Animal))
try:
    Animal()
except TypeError as e:
    failure = type(e).__name__
print(failure, len(pets))
