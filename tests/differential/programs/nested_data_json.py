import json
import copy
config = {"model": {"depth": 3, "layers": [1, 2]}, "tags": ["a"]}
view = config["model"]
view["depth"] = 4
layers = view["layers"]
layers.append(3)
print(json.dumps(config, sort_keys=True))
backup = copy.deepcopy(config)
shallow = dict(config)
shallow["tags"].append("b")
config["model"]["depth"] += 1
print(backup["model"]["depth"], shallow["model"] is view, config["tags"])
def update(target, **changes):
    for key, value in changes.items():
        target[key] = value
    return target
same = update(view, depth=9)
same["extra"] = layers
print(config["model"]["depth"], view["extra"] is config["model"]["layers"])
layers.clear()
print(config, backup["model"]["layers"])
[config["x"], config["y"]] = 1, 2
config["z"], *config["rest"] = range(4)
print(config["z"], config["rest"], sorted(config))
