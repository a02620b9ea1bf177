"""The kubectl in the PATH against a lab with nodes, in steps that one as old as Debian's (1.20.2) can do: that one asks
for OpenAPI v2 and speaks SPDY, which the lab has not, hence, no explain, no exec.

usage: kubectl_test.py KFHOST
"""
import json, os, shutil, subprocess, sys, tempfile

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: hello, labels: {made: here}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: 'busybox:1', command: [sh, -c, 'echo hello from the job']}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: 'busybox:1', command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"]}
"""
LIST = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: of-a-list}, data: {a: '1'}}
- {apiVersion: v1, kind: Service, metadata: {name: of-a-list}, spec: {ports: [{port: 80}], selector: {a: b}}}
"""
STEPS = [  # words, text for standard input, what must be in the output
    ("version", None, "v1.37.2"),
    ("api-resources", None, "persistentvolumeclaims"),
    ("get nodes -o wide", None, "lab-1"),
    ("apply -f -", JOB, "job.batch/hello created"),
    ("apply -f -", JOB, "job.batch/hello"),
    ("create -f -", LIST, "service/of-a-list created"),
    ("apply -f -", LIST, "configmap/of-a-list"),
    ("apply -f -", LIST.replace("'1'", "'2'"), "configmap/of-a-list configured"),
    ("wait --for=condition=complete job/hello --timeout=60s", None, "condition met"),
    ("get jobs", None, "1/1"),
    ("logs job/hello", None, "hello from the job"),
    ("get pods -l job-name=hello -o jsonpath={.items[0].status.phase}", None, "Succeeded"),
    ("describe job hello", None, "Completed"),
    ("create -f -", DEPLOYMENT, "deployment.apps/web created"),
    ("rollout status deployment/web --timeout=60s", None, "successfully rolled out"),
    ("scale deployment/web --replicas=2", None, "scaled"),
    ("rollout status deployment/web --timeout=60s", None, "successfully rolled out"),
    ("get deployment web -o yaml", None, "replicas: 2"),
    ("label deployment web a=b", None, "labeled"),
    ("annotate deployment web a=b", None, "annotated"),
    ("patch deployment web --type=merge -p {\"spec\":{\"paused\":false}}", None, "deployment.apps/web"),
    ("patch deployment web --type=json -p [{\"op\":\"remove\",\"path\":\"/metadata/labels/a\"}]", None, "patched"),
    ("patch deployment web -p {\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"n\":\"1\"}}}}}", None, "patched"),
    ("rollout status deployment/web --timeout=60s", None, "successfully rolled out"),
    ("rollout history deployment/web", None, "REVISION"),
    ("apply --server-side --field-manager=me -f -",
     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n", "serverside-applied"),
    ("get configmap c -o jsonpath={.data.a}", None, "1"),
    ("auth can-i list pods", None, "yes"),
    ("delete deployment web --timeout=60s", None, "deleted"),
    ("delete job hello --timeout=60s", None, "deleted"),
    ("create namespace other", None, "created"),
    ("delete namespace other --timeout=60s", None, "deleted"),
]


def main():
    kfhost = os.path.abspath(sys.argv[1])
    kubectl = shutil.which("kubectl")
    if not kubectl:
        print("not ok - there is no kubectl (Debian: kubernetes-client)\n0 passed, 1 failed")
        return 1
    print("# " + subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True).stdout.split("\n")[0])
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        config = os.path.join(directory, "kubeconfig")
        lab = subprocess.Popen([kfhost, "lab", "up", "--kubeconfig", config, "--time-scale", "0.1", "--json"],
                               stdout=subprocess.PIPE, text=True)
        json.loads(lab.stdout.readline())
        env = dict(os.environ, KUBECONFIG=config, HOME=directory)
        for words, text, wanted in STEPS:
            run = subprocess.run([kubectl] + words.split(" "), input=text, capture_output=True, text=True, env=env,
                                 timeout=120)
            good = wanted in run.stdout + run.stderr and run.returncode == 0
            failed += not good
            print("%s - kubectl %s" % ("ok" if good else "not ok", words))
            if not good:
                print("#   code %d\n#   %s\n#   %s" % (run.returncode, run.stdout[-600:], run.stderr[-600:]))
        lab.terminate()
        lab.wait()
    print("%d passed, %d failed" % (len(STEPS) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
