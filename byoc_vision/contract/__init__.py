"""What the images and the programs that start them agree on, and all that they share. Standard library only.

errors.py           the kinds of error whose text is meant for the user
hyperparameters.py  their names, types, ranges and defaults
architectures.py    torchvision's classifiers, as far as they are known without torch
weights.py          what a file of pretrained weights is, and whose
metrics.py          the lines a job reports its figures in, and the expressions that find them there
dataset.py          how folders of labelled pictures are read, with folders.py, structure.py and split_names.py
files.py            files that are whole at any moment, and their URIs
cgroup.py           what the kernel says of the container
program.py          what a job may name as its program
job.py              a job's channels, and the names of the files that it leaves
"""
