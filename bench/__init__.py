"""Measurements of training and serving beside what users do today, side by side in one run.

    python -m bench [COMPARISON …] [--data DIR] [--weights FILE]
    python -m bench hostile faults [--requests N] [--seed N]

Each comparison leaves its figures as JSON in the results folder; the results page is made of all that are there.
What the serving images withstand (the second line) is measured only when it is named: that takes half an hour, kills
containers and fills memory. `attack/` holds the hostile requests; `baseline/` is what users do today; `inside/` runs
where torch is: in the project's images, or on this machine.
"""
