class Model:
    def __init__(self, name, **params):
        self.name = name
        self.params = params
        self.fitted = False
    def fit(self, xs, ys):
        self.mean = sum(ys) / len(ys)
        self.fitted = True
        return self
    def predict(self, xs):
        return [self.mean + self.params.get("shift", 0) for _ in xs]
class Scaled(Model):
    def fit(self, xs, ys):
        self.factor = max(xs)
        return super().fit([x / self.factor for x in xs], ys)
def score(model, xs, ys):
    return -sum((p - y) ** 2 for p, y in zip(model.predict(xs), ys))
xs = [1, 2, 3, 4]
ys = [2, 4, 6, 8]
plain = Model("plain")
shifted = Scaled("shifted", shift=1)
plain.fit(xs, ys)
shifted.fit(xs, ys)
models = {m.name: m for m in (plain, shifted)}
scores = {name: score(m, xs, ys) for name, m in models.items()}
print(scores)
winner = models[max(scores, key=scores.get)]
print(winner.name, winner.fitted, winner is plain)
winner.params["shift"] = 0.5
print(score(plain, xs, ys), shifted.factor)
report = [(m.name, m.predict([0])) for m in models.values()]
print(report)
