config = {"lr": 0.1, "layers": [3, 2]}
frozen = dict(config)
def tune(c, **kw):
    c.update(kw)
    return c
tuned = tune(config, lr=0.5)
print(config["lr"], frozen["lr"], tuned is config)
tuned["layers"].append(1)
print(frozen["layers"])
runs = []
def record(name, c):
    runs.append({"name": name, **c})
record("first", tuned)
config["lr"] = 0.01
record("second", config)
print([r["lr"] for r in runs])
runs[0]["layers"].clear()
print(frozen, config)
best = sorted(runs, key=lambda r: r["lr"])[0]
best["best"] = True
print([r.get("best") for r in runs])
names = [r["name"] for r in runs]
names.remove("first")
print(names, len(runs), "layers" in config)
