"""Runs modules as `python -m` does, each in a process forked off this one, which has what takes long: boto3, imported,
and the descriptions of AWS's services, read.

A request is a line of JSON on the pipe whose number is the first argument; the exit code goes to that of the second.
Environment, folder, path of modules, streams and end are those of a process that was started for it.
"""

import gc
import json
import os
import runpy
import signal
import sys
from functools import cache
from typing import Any

import boto3
import botocore.session
import yaml

PRELOADED = (boto3, yaml)

#: The services that launchers ask; megabytes describe them.
SERVICES = ("cloudwatch", "ecr", "iam", "logs", "s3", "sagemaker", "sagemaker-runtime", "sts")

#: Seconds after which a module that has not come to its end is ended.
PATIENCE = 120


def become(request: dict[str, Any], own: list[str]) -> None:
    """Be as a process started as the `request` says; `own` is the path of modules that every process has."""
    signal.alarm(PATIENCE)
    for number, name, mode in ((0, os.devnull, os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
        os.dup2(os.open(request.get(name, name), mode), number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:] = [request["folder"], *os.environ["PYTHONPATH"].split(os.pathsep), *own]
    sys.argv = ["-m", *request["arguments"]]


def describe_services() -> None:
    """Read the descriptions once for all sessions, each of which has else a loader of its own."""
    botocore.session.create_loader = cache(botocore.session.create_loader)
    session = boto3.Session("none", "none", region_name="us-east-1")
    for service in SERVICES:
        session.client(service)


def main() -> None:
    """Run modules until the pipe is closed."""
    asked, told = (int(number) for number in sys.argv[1:])
    own = [place for place in sys.path[1:] if place not in os.environ["PYTHONPATH"].split(os.pathsep)]
    describe_services()
    gc.freeze()
    with os.fdopen(asked, encoding="utf-8") as requests:
        while line := requests.readline():
            process = os.fork()
            if process == 0:
                break
            _, status = os.waitpid(process, 0)
            os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
        else:
            return
    os.close(told)
    request = json.loads(line)
    become(request, own)
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
