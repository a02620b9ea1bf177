"""All pods by the Python client, as objects: list.py URL"""
import sys

from kubernetes import client

configuration = client.Configuration()
configuration.host = sys.argv[1]
print(len(client.CoreV1Api(client.ApiClient(configuration)).list_pod_for_all_namespaces().items))
