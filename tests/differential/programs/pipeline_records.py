import csv
import io
import statistics
from collections import defaultdict
RAW = "name,age,fare,cls\nann,30,7.5,3\nbob,,8.0,1\ncat,41,71.3,1\ndan,19,8.1,3\n"
def parse(text):
    return list(csv.DictReader(io.StringIO(text)))
rows = parse(RAW)
for row in rows:
    row["age"] = int(row["age"]) if row["age"] else None
    row["fare"] = float(row["fare"])
ages = [r["age"] for r in rows if r["age"] is not None]
typical = statistics.median(ages)
for row in rows:
    if row["age"] is None:
        row["age"] = typical
by_class = defaultdict(list)
for row in rows:
    by_class[row["cls"]].append(row)
means = {c: statistics.mean(r["fare"] for r in rs) for c, rs in by_class.items()}
print(sorted(means.items()))
rows[0]["fare"] = 100.0
check = by_class["3"][0]["fare"]
print(check, typical)
summary = [f"{r['name']:>5} {r['fare']:.1f}" for r in rows]
print("\n".join(summary))
