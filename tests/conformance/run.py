"""Runs the conformance driver against a lab; says what fails that should not, and the other way round. What the driver
sends and gets is compared with the recording of the same requests to a real server (wire.py).

usage: run.py KFHOST [GROUP…]
"""
import json, os, re, subprocess, sys, tempfile

import wire

HERE = os.path.dirname(os.path.abspath(__file__))
WIRE = os.path.join(HERE, "..", "fixtures", "wire")
RUN = "8b532"  # that of the recording, so that names are the same


def decided():
    lines = open(os.path.join(HERE, "decided.txt")).read().splitlines()
    return {line.split("\t")[0] for line in lines if line and not line.startswith("#")}


def start(kfhost, directory):
    config = os.path.join(directory, "kubeconfig")
    lab = subprocess.Popen([kfhost, "lab", "up", "--nodes", "0", "--kubeconfig", config, "--json"],
                           stdout=subprocess.PIPE, text=True)
    json.loads(lab.stdout.readline())
    return lab, config


def has_current_kubectl():
    """The group kubectl wants one of these years; Debian's is of 2020, and has a test of its own (kubectl_test.py)."""
    try:
        out = subprocess.run([os.environ.get("KUBECTL", "kubectl"), "version", "--client", "-o", "json"],
                             capture_output=True, text=True).stdout
        return int(re.sub(r"\D", "", json.loads(out)["clientVersion"]["minor"]) or 0) >= 30
    except (OSError, ValueError, KeyError):
        return False


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
            env = dict(os.environ, KUBECONFIG=as_json(config, kfhost), KC_BOOKMARK_WAIT="0", KC_COMPACT_CMD=forget,
                       KC_RUN_ID=RUN)
            if not has_current_kubectl():
                env["KUBECTL"] = os.path.join(directory, "no-kubectl")
            subprocess.run([sys.executable, os.path.join(HERE, "kubeflow_crds.py"), WIRE], env=env, check=True)
            recorded = os.path.join(directory, "recorded")
            words = [word for group in groups for word in ("--group", group)]
            driver = os.path.join(HERE, "kubernetes", "conform.py")
            out = subprocess.run([sys.executable, driver, "--record", recorded] + words, capture_output=True, text=True,
                                 env=env).stdout
            print(out)
            same, other = (0, 0) if groups else wire.report(WIRE, recorded)
        finally:
            lab.terminate()
            lab.wait()
    failed = set(re.findall(r"^FAIL (.*?)  ", out, re.M))
    known = decided()
    wrong = failed - known
    stale = {name for name in known - failed if not groups or name.split(": ")[0] in groups}
    for name in sorted(wrong):
        print("not ok - " + name)
    for name in sorted(stale):
        print("not ok - holds, but decided.txt says that it does not: " + name)
    hold, total = re.findall(r"^(\d+)/(\d+) checks hold", out, re.M)[-1]
    crashed = "CRASH" in out
    print("%d passed, %d failed" % (int(hold) + same, len(wrong) + len(stale) + crashed + other))
    return 1 if wrong or stale or crashed or other else 0


if __name__ == "__main__":
    sys.exit(main())
