"""The training script users have: pictures decoded again in each epoch, by the main process, and fp32 throughout.

With `--train-layers head` the backbone is frozen, and runs all the same, for every picture in every epoch.
"""
# mypy: ignore-errors

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def net(arch, weights, classes, train_layers):
    model = models.get_model(arch, weights=None)
    model.load_state_dict(torch.load(weights, map_location="cpu"))
    if train_layers == "head":
        for parameter in model.parameters():
            parameter.requires_grad = False
    if hasattr(model, "fc"):
        model.fc = nn.Linear(model.fc.in_features, classes)
    else:
        model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, classes)
    return model.to(device)


def create_data_loaders(data, batch_size):
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    loaders = {}
    for phase in ("train", "valid", "test"):
        dataset = datasets.ImageFolder(Path(data) / phase, transform)
        loaders[phase] = DataLoader(dataset, batch_size=batch_size, shuffle=phase == "train")
    return loaders


def train(model, loaders, criterion, optimizer, epochs):
    for epoch in range(1, epochs + 1):
        for phase in ("train", "valid"):
            begun = time.monotonic()
            model.train(phase == "train")
            running_loss, running_corrects = 0.0, 0
            for inputs, labels in loaders[phase]:
                inputs, labels = inputs.to(device), labels.to(device)
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                if phase == "train":
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                running_loss += loss.item() * len(inputs)
                running_corrects += torch.sum(outputs.argmax(1) == labels).item()
            samples = len(loaders[phase].dataset)
            loss, accuracy, seconds = running_loss / samples, running_corrects / samples, time.monotonic() - begun
            print(
                f"epoch={epoch} {phase}_loss={loss:.5g} {phase}_accuracy={accuracy:.5g} seconds={seconds:.5g}",
                flush=True,
            )


def test(model, loader):
    model.eval()
    corrects = 0
    with torch.no_grad():
        for inputs, labels in loader:
            corrects += torch.sum(model(inputs.to(device)).argmax(1) == labels.to(device)).item()
    return corrects / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--train-layers", default="head")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.001)
    args = parser.parse_args()

    begun = time.monotonic()
    loaders = create_data_loaders(args.data, args.batch_size)
    model = net(args.arch, args.weights, len(loaders["train"].dataset.classes), args.train_layers)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], lr=args.lr)
    train(model, loaders, criterion, optimizer, args.epochs)
    accuracy = test(model, loaders["test"])
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), args.out / "model.pth")
    figures = {"seconds": time.monotonic() - begun, "test_accuracy": accuracy}
    (args.out / "metrics.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
