"""Train a picture classifier: `python -m train --data DIR`, or as the training image of a SageMaker job."""
