"""Serves what train_model.py left: a picture in, the probability of each label out.

    byoc deploy --local --model JOB --source examples/own_scripts

What is not here (output_fn) is done as in AWS's PyTorch images: an answer as JSON.
"""

import io
from pathlib import Path

import torch
from PIL import Image
from sagemaker_inference.errors import GenericInferenceToolkitError
from torchvision import models, transforms


def model_fn(model_dir):
    """Return the network with its labels and the side of its pictures; called once in each worker."""
    content = torch.load(Path(model_dir, "model.pth"), map_location="cpu")
    network = models.resnet18(num_classes=len(content["labels"]))
    network.load_state_dict(content["state_dict"])
    return network.eval(), content["labels"], content["image_size"]


def input_fn(body, content_type):
    """Return the picture in the body. What the client did wrong is told to it; any other error goes to the log."""
    try:
        return Image.open(io.BytesIO(body)).convert("RGB")
    except OSError:
        raise GenericInferenceToolkitError(400, "the body is no picture; send one, as image/jpeg") from None


def predict_fn(picture, model):
    """Return the probability of each label."""
    network, labels, side = model
    prepare = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor()])
    with torch.inference_mode():
        probabilities = network(prepare(picture)[None]).softmax(1)[0]
    return dict(zip(labels, probabilities.tolist(), strict=True))
