import os
import sys
os.environ["KF_A"] = "1"
os.environ.setdefault("KF_B", "2")
print(os.environ["KF_A"], os.getenv("KF_B"))
a = int(os.environ.pop("KF_A"))
print(a, "KF_A" in os.environ)
sys.argv = ["prog", "--x", "3"]
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=int)
options = parser.parse_args()
print(options.x)
x = options.x + a
sys.path.append("/nowhere")
on_path = "/nowhere" in sys.path
print(x, on_path)
del os.environ["KF_B"]
print(os.environ.get("KF_B"))
