import json
import logging
import math
import os
import random
import sys
import warnings
math.golden = 1.618
print(math.golden)
doubled = math.golden * 2
print(doubled)
sys.path.append("/nowhere")
print("/nowhere" in sys.path)
found = "/nowhere" in sys.path
sys.path.remove("/nowhere")
os.environ["KF_DIFFERENTIAL"] = "on"
print(os.environ.get("KF_DIFFERENTIAL"))
mode = os.environ.get("KF_DIFFERENTIAL", "off")
random.seed(7)
drawn = random.random()
print(round(drawn, 6))
more = random.randint(1, 100)
print(more)
warnings.filterwarnings("error", category=UserWarning)
try:
    warnings.warn("loud")
    raised = False
except UserWarning:
    raised = True
print(raised)
warnings.resetwarnings()
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")
logging.info("told")
log = logging.getLogger("kf.differential")
log.setLevel(logging.ERROR)
log.warning("not told")
print(log.getEffectiveLevel())
def quiet(text):
    return '"' + text + '"'
old_dumps = json.dumps
json.dumps = quiet
print(json.dumps("a"))
json.dumps = old_dumps
print(json.dumps([1]), mode, found)
sys.argv = ["prog", "x"]
print(sys.argv[1:])
