"""Runs a pipeline in the SDK's local runner and says how long it took, and which commands it ran.

    build/sdk/bin/python tests/bench/sdk_run.py PIPELINE.yaml ROOT   (prints one JSON line at the end)
"""
import json
import logging
import sys
import time

from kfp import components, local
from kfp.local import subprocess_task_handler

commands = []
run_command = subprocess_task_handler.run_local_subprocess


def remember(full_command, **options):
    commands.append(full_command)
    return run_command(full_command=full_command, **options)


logging.disable(logging.INFO)
subprocess_task_handler.run_local_subprocess = remember
component = components.load_component_from_file(sys.argv[1])
local.init(
    runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2], raise_on_error=True
)
started = time.perf_counter()
component()
print(json.dumps({"seconds": time.perf_counter() - started, "commands": commands}))
