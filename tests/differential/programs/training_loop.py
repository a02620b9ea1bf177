import math
import random
rng = random.Random(3)
points = [(rng.random(), rng.random()) for _ in range(20)]
labels = [1 if x + y > 1 else -1 for x, y in points]
weights = [0.0, 0.0]
bias = 0.0
history = []
def predict(p):
    return 1 if weights[0] * p[0] + weights[1] * p[1] + bias > 0 else -1
def epoch(rate):
    global bias
    wrong = 0
    for p, label in zip(points, labels):
        if predict(p) != label:
            weights[0] += rate * label * p[0]
            weights[1] += rate * label * p[1]
            bias += rate * label
            wrong += 1
    history.append(wrong)
    return wrong
first = epoch(0.5)
for n in range(5):
    last = epoch(0.5 / (n + 1))
print(first, last, history)
accuracy = sum(predict(p) == l for p, l in zip(points, labels)) / len(points)
print(round(accuracy, 3), [round(w, 3) for w in weights], round(bias, 3))
best = min(history)
noise = rng.gauss(0, 1)
print(best, round(noise, 6), n)
