"""What a run writes down of itself, for the report that the debugger makes.

callback.py       what the loop tells of its steps; by itself it writes nothing
recorder.py       the callback that passes the steps on to those below
tensor_hook.py    the network's tensors and the losses        -> debugger/, by smdebug_files.py
managed_hook.py   the same by smdebug, as the service's configuration says; alone imports smdebug
smdebug_files.py  the files of smdebug's format
step_times.py     the time of each part of every step         -> profile/steps.csv
utilisation.py    the machine, and how its parts are used      -> profile/run.json, profile/system.csv
"""
