"""What users do today: the training script and the endpoint of the write-ups this project replaces, in our own words.

Kept as they have it, faults included. Only what a measurement needs is added: weights from a file, figures
written down.
"""
