# needs: numpy pandas
import numpy as np
import pandas as pd
raw = pd.DataFrame({"city": ["a", "b", "a", None], "n": [1, 2, 3, 4], "day": pd.date_range("2024-01-01", periods=4)})
raw["double"] = raw.n * 2
raw.loc[raw.n > 2, "n"] = 0
print(raw)
raw.dropna(inplace=True)
by_city = raw.groupby("city")["double"].agg(["sum", "mean"])
print(by_city)
view = raw["n"].to_numpy()
view = view.copy()
view[0] = 99
print(raw.n.tolist(), view)
raw.columns = [c.upper() for c in raw.columns]
raw["KIND"] = raw.CITY.astype("category")
print(raw.dtypes.astype(str).to_dict())
grid = np.arange(6).reshape(2, 3)
row = grid[0]
row += 10
print(grid)
mask = grid > 5
grid[mask] = -1
print(grid, mask.sum())
def clean(frame, by="CITY"):
    frame = frame.rename(columns=str.lower)
    return frame.assign(rank=frame.double.rank())
tidy = raw.pipe(clean)
print(tidy)
merged = tidy.merge(by_city, left_on="city", right_index=True)
pivot = merged.pivot_table(index="city", values="n", aggfunc="sum")
print(pivot, len(merged))
for name, group in tidy.groupby("city"):
    print(name, len(group))
stats = {c: tidy[c].sum() for c in ("n", "double")}
tidy.loc[tidy.index[0], "n"] = 50
print(stats, tidy.n.sum(), name)
