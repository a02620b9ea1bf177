# stays: yes
# hide: f out path folder
import os
import tempfile
from pathlib import Path
folder = tempfile.mkdtemp(prefix="kf-files-")
path = Path(folder) / "a.txt"
path.write_text("one\ntwo\n")
f = open(path)
line = f.readline()
rest = f.read()
f.close()
print(repr(line), repr(rest))
with open(path, "a") as out:
    print("three", file=out)
lines = path.read_text().splitlines()
print(lines)
os.chdir(folder)
found = sorted(os.listdir("."))
print(found)
os.chdir("/")
size = os.path.getsize(path)
print(size, path.suffix)
