"""The endpoint users have: multi-model-server as the toolkit starts it by default, around their `inference.py`."""

from sagemaker_inference.model_server import start_model_server

if __name__ == "__main__":
    start_model_server()
