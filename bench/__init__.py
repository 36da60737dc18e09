"""Measurements of training and serving beside what users do today, side by side in one run.

    python -m bench [COMPARISON …] [--data DIR] [--weights FILE]

Each comparison leaves its figures as JSON in the results folder; the results page is made of all that are there.
`baseline/` is what users do today; `inside/` runs where torch is: in the project's images, or on this machine.
"""
