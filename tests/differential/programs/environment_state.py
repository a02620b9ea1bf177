import os
import sys
import warnings
os.environ["KF_MODE"] = "a"
print(os.environ["KF_MODE"])
mode = os.environ.get("KF_MODE", "none")
print(mode)
here = os.getcwd()
os.makedirs("sub", exist_ok=True)
os.chdir("sub")
print(os.path.basename(os.getcwd()) == "sub")
os.chdir(here)
same = os.getcwd() == here
print(same)
limit = sys.getrecursionlimit()
sys.setrecursionlimit(limit + 10)
grown = sys.getrecursionlimit() - limit
print(grown)
mode2 = os.environ.get("KF_MODE", "none")
print(mode2)
warnings.simplefilter("ignore")
warnings.warn("quiet")
del here, limit
