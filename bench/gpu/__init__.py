"""Everything that runs on a GPU, checked and measured in one call: `python -m bench gpu --here`.

rows.py       what a check finds, and how a group of checks is run, so that what breaks costs only itself
groups.py     runs the groups, each in a process of its own, and makes one table of what they found
toolkits.py   what the serving worker takes from SageMaker's toolkits, where these are not installed
runs.py       training runs for the checks
scenes.py     loads of GPUs, made and recorded
setting.py    what checks are given: the device, pictures, sizes
training.py   training in each number format, as on the CPU
resume.py     interruption and resume
replicas.py   several processes, joined by nccl
speed.py      decoding ahead; the load of the GPU in our own profile
rules.py      each profiler rule about GPUs, made to fire and not to
serving.py    numeric forms, batches of requests, two workers on one GPU

The modules of groups need torch and what `train` or `serve` import; nothing of SageMaker's toolkits.
"""
