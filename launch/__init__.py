"""Thin launchers: build SageMaker's own requests as plain data, check them, and send them to AWS or to this machine.

    python -m launch.tune launch/examples/tune.yaml --data DIR --best best.json
    python -m launch.train --data DIR --hyperparameters best.json
    python -m launch.deploy --model JOB
    python -m launch.endpoints
    python -m launch.predict PICTURE...
    python -m launch.transform --model JOB --data DIR
    python -m launch.watch JOB
    python -m launch.report JOB

Every launcher takes `--local` (the same request on this machine), and every one that sends requests takes `--dry-run`
(print them, send nothing) and `--request FILE` (any other field of the API). What is the same for all runs of an
account comes from the environment: AWS_PROFILE and AWS_REGION as everywhere, and SAGEMAKER_ROLE, the execution role's
name or ARN.
"""
