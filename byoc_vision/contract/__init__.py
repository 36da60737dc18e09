"""What the images and the programs that start them agree on, and all that they share. Standard library only.

errors.py           the kind of error whose text is meant for the user
hyperparameters.py  their names, types, ranges and defaults
metrics.py          the lines a job reports its figures in, and the expressions that find them there
files.py            files that are whole at any moment
job.py              a job's channels, and the names of the files that it leaves
"""
