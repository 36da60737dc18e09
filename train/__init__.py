"""Train a picture classifier: `python -m train --data DIR`, or as the training image of a SageMaker job.

`config` and `metrics` import neither torch nor SageMaker, so that launchers can check a request against them.
"""
