"""Installs in the cluster of KUBECONFIG the custom resources that the driver's group kubeflow wants: seven definitions
of the recording (tests/fixtures/wire/kubeflow-*.json), and two of our own for kinds whose definitions are not in it.

usage: kubeflow_crds.py FOLDER
"""
import glob, json, os, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "kubernetes"))
import kc

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ANY = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def plain(group, kind, plural, scope, versions):
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": plural + "." + group},
            "spec": {"group": group, "scope": scope,
                     "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": kind + "List"},
                     "versions": [{"name": name, "served": True, "storage": i == 0, "subresources": {"status": {}},
                                   "schema": {"openAPIV3Schema": ANY}} for i, name in enumerate(versions)]}}


def recorded(folder):
    for path in sorted(glob.glob(os.path.join(folder, "kubeflow-*.json"))):
        for exchange in json.load(open(path)):
            body = exchange["response"].get("body")
            if exchange["name"].startswith("crd ") and isinstance(body, dict):
                meta = {"name": body["metadata"]["name"], "labels": body["metadata"].get("labels"),
                        "annotations": body["metadata"].get("annotations")}
                yield {"apiVersion": body["apiVersion"], "kind": body["kind"],
                       "metadata": {k: v for k, v in meta.items() if v}, "spec": body["spec"]}


def main():
    client = kc.Client()
    own = [plain("networking.istio.io", "EnvoyFilter", "envoyfilters", "Namespaced", ["v1alpha3"]),
           plain("kubeflow.org", "Profile", "profiles", "Cluster", ["v1", "v1beta1"])]
    for definition in list(recorded(sys.argv[1])) + own:
        response = client.post(PATH, definition)
        if response.status not in (201, 409):
            sys.exit("%s: %r" % (definition["metadata"]["name"], response))
    for _ in range(200):
        if client.get("/apis/kubeflow.org/v1/profiles").status == 200:
            return
        time.sleep(0.05)
    sys.exit("the definitions are not served")


if __name__ == "__main__":
    main()
