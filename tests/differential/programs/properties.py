class Temperature:
    scale = "C"
    def __init__(self, degrees):
        self._degrees = degrees
        self.log = []
    @property
    def degrees(self):
        self.log.append("get")
        return self._degrees
    @degrees.setter
    def degrees(self, value):
        self.log.append("set")
        self._degrees = value
    @staticmethod
    def parse(text):
        return Temperature(float(text.rstrip("C")))
    @classmethod
    def freezing(cls):
        return cls(zero)
    def __add__(self, other):
        return Temperature(self._degrees + other)
    def __repr__(self):
        return f"{self._degrees}{self.scale}"
zero = 0.0
t = Temperature.parse("21.5C")
ice = Temperature.freezing()
print(t, ice)
t.degrees = 30
now = t.degrees
print(now, t.log)
warm = t + 5
print(warm, warm.log)
temps = sorted([t, ice, warm], key=lambda x: x._degrees)
print(temps)
ice.degrees += 1
print(ice, temps[0].log, temps[0] is ice)
zero = -273.15
print(Temperature.freezing())
