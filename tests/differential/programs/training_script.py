import math
import random
class Model:
    def __init__(self, lr=0.1):
        self.lr, self.w, self.b, self.history = lr, 0.0, 0.0, []
    def predict(self, x): return self.w * x + self.b
    def fit(self, data, epochs=5, callbacks=()):
        for epoch in range(epochs):
            loss = 0
            for x, y in data:
                e = self.predict(x) - y
                self.w -= self.lr * e * x
                self.b -= self.lr * e
                loss += e * e
            self.history.append(loss)
            for callback in callbacks:
                callback(self, epoch, loss)
        return self
data = [(x / 10, 2 * x / 10 + 1) for x in range(10)]
best = {"loss": math.inf, "epoch": None}
def keep_best(model, epoch, loss):
    if loss < best["loss"]:
        best.update(loss=round(loss, 6), epoch=epoch)
model = Model()
model.fit(data, callbacks=[keep_best])
print(best)
models = {lr: Model(lr).fit(data) for lr in (0.01, 0.3)}
chosen = min(models.items(), key=lambda item: item[1].history[-1])
print(chosen[0], round(chosen[1].w, 4))
model.lr = 0.01
model.fit(data, 2, [keep_best, lambda m, e, l: log.append(e)] if (log := []) is not None else [])
print(len(model.history), log, best["epoch"])
rounded = [round(model.predict(x), 3) for x, _ in data[:3]]
print(rounded)
del models
report = f"{chosen[1].w:.3f} {best}"
print(report)
