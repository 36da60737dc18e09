"""Script mode: a program of the user's own runs in place of this project's training, as in AWS's own images.

request.py       what the job asks for: the program, where its code is, and the settings that are not honoured
source.py        the code in its folder
requirements.py  what the code needs, installed
command.py       the command line: a Python file, a package, a shell script, or torchrun over several hosts and GPUs
process.py       the program as a child of the container's first process: its output, its signals, its end
reason.py        why a program failed, in one line of what it wrote
advice.py        what to do about that
curves.py        the figures in the lines that it printed
report.py        smdebug's configuration, and the report
beside.py        a profile and the report where the image's entry point was replaced
job.py           all of it, with the system's profile and the report
"""
