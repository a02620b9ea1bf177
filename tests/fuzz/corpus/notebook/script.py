# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
#   kubeflow_notebook:
#     base_image: python:3.12
#     experiment_name: examples
#     pipeline_description: Functions that read names of other steps
#     pipeline_name: prices
#   language_info:
#     name: python
#     version: "3.11"
# ---

# %% [markdown]
# # Functions that read names of other steps
#
# `gross` and `label` are defined in one step and called in others. They read `rate`, which travels with
# them, and `currency`, which each calling step sets for itself: as in the notebook, a function sees the
# names of the place that runs it.

# %% tags=["pipeline-parameters"]
discount = 0.1
minimum = 20

# %% tags=["step:rules"]
rate = 0.19
rounds = 2


def gross(net):
    return round(net * (1 + rate), rounds)


def label(net):
    return f"{gross(net):.2f} {currency}"

# %% tags=["step:basket"]
basket = [("pencil", 1.2, 10), ("paper", 4.5, 3), ("ink", 12.0, 1)]
net_total = sum(price * count for _, price, count in basket)
print(f"{len(basket)} articles, {net_total:.2f} net")

# %% tags=["step:europe","prev:rules","prev:basket"]
currency = "EUR"
europe_lines = [f"{name}: {label(price * count)}" for name, price, count in basket]
print("\n".join(europe_lines))

# %% tags=["step:denmark","prev:rules","prev:basket"]
rate = 0.25
currency = "DKK"
denmark_lines = [f"{name}: {label(price * count * 7.46)}" for name, price, count in basket]
print("\n".join(denmark_lines))

# %% tags=["step:invoice","prev:europe","prev:denmark"]
currency = "EUR"
rate = 0.19
reduced = net_total * (1 - discount) if net_total >= minimum else net_total
total = gross(reduced)
lines = europe_lines + denmark_lines + ["to pay: " + label(reduced)]
print("\n".join(lines))
line_count = len(lines)

# %% tags=["pipeline-metrics"]
print(total)
print(line_count)
