"""Runs the conformance driver against a lab; says what fails that should not, and the other way round.

usage: run.py KFHOST [GROUP…]
"""
import json, os, re, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def decided():
    lines = open(os.path.join(HERE, "decided.txt")).read().splitlines()
    return {line.split("\t")[0] for line in lines if line and not line.startswith("#")}


def start(kfhost, directory):
    config = os.path.join(directory, "kubeconfig")
    lab = subprocess.Popen([kfhost, "lab", "up", "--nodes", "0", "--kubeconfig", config, "--json"],
                           stdout=subprocess.PIPE, text=True)
    json.loads(lab.stdout.readline())
    return lab, config


def as_json(config, kfhost):
    """The driver reads JSON without help; kubeconfig files are YAML."""
    text = subprocess.run([kfhost, "-e", "print(require('json').encode(require('yaml').decode(require('fs').read(%r))))"
                           % config], capture_output=True, text=True, check=True).stdout
    path = config + ".json"
    with open(path, "w") as file:
        file.write(text)
    return path


def main():
    kfhost, groups = os.path.abspath(sys.argv[1]), sys.argv[2:]
    with tempfile.TemporaryDirectory() as directory:
        lab, config = start(kfhost, directory)
        try:
            # A compaction and the wait for a bookmark take the driver's own means; the Lua tests have both.
            forget = "%s lab fault expire --kubeconfig %s" % (kfhost, config)
            env = dict(os.environ, KUBECONFIG=as_json(config, kfhost), KC_BOOKMARK_WAIT="0", KC_COMPACT_CMD=forget)
            words = [word for group in groups for word in ("--group", group)]
            driver = os.path.join(HERE, "kubernetes", "conform.py")
            out = subprocess.run([sys.executable, driver] + words, capture_output=True, text=True, env=env).stdout
        finally:
            lab.terminate()
            lab.wait()
    failed = set(re.findall(r"^FAIL (.*?)  ", out, re.M))
    known = decided()
    wrong = failed - known
    stale = {name for name in known - failed if not groups or name.split(": ")[0] in groups}
    print(out)
    for name in sorted(wrong):
        print("not ok - " + name)
    for name in sorted(stale):
        print("not ok - holds, but decided.txt says that it does not: " + name)
    hold, total = re.findall(r"^(\d+)/(\d+) checks hold", out, re.M)[-1]
    crashed = "CRASH" in out
    print("%s passed, %d failed" % (hold, len(wrong) + len(stale) + crashed))
    return 1 if wrong or stale or crashed else 0


if __name__ == "__main__":
    sys.exit(main())
