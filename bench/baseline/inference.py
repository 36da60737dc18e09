"""The `code/inference.py` users have: the transforms built anew for each request, a class number for an answer."""
# mypy: ignore-errors

import io
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torchvision import models, transforms

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model_fn(model_dir):
    state = torch.load(Path(model_dir) / "model.pth", map_location=device)
    model = models.resnet50(weights=None)
    model.fc = nn.Linear(model.fc.in_features, len(state["fc.bias"]))
    model.load_state_dict(state)
    return model.to(device).eval()


def input_fn(request_body, content_type):
    if content_type in ("image/jpeg", "application/x-image"):
        return Image.open(io.BytesIO(request_body)).convert("RGB")
    raise ValueError(f"unsupported content type {content_type}")


def predict_fn(image, model):
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.no_grad():
        outputs = model(transform(image).unsqueeze(0).to(device))
    return {"predicted_class": int(outputs.argmax(1))}
