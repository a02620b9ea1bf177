"""Compiles with the KFP SDK the pipeline that chain.py has as a notebook: sdk_chain.py STEPS FILE."""
import sys

from kfp import compiler, dsl


@dsl.component(base_image="python:3.12")
def first(value: dsl.Output[dsl.Dataset]):
    with open(value.path, "w") as file:
        file.write("1")


@dsl.component(base_image="python:3.12")
def following(base: dsl.Input[dsl.Dataset], before: dsl.Input[dsl.Dataset], value: dsl.Output[dsl.Dataset]):
    with open(value.path, "w") as file:
        file.write(str(int(open(before.path).read()) + 1 + int(open(base.path).read())))


@dsl.pipeline(name="chain")
def chain():
    base = before = first()
    for _ in range(1, int(sys.argv[1])):
        before = following(base=base.outputs["value"], before=before.outputs["value"])


compiler.Compiler().compile(chain, sys.argv[2])
