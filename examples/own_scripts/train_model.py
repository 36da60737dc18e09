"""A training script as people bring them: arguments, channels, smdebug's hook, early stopping, a state dict at the end.

byoc train --local --data pictures --source examples/own_scripts --program train_model.py --set epochs=3
"""

import argparse
import os
from pathlib import Path

import smdebug.pytorch as smd
import torch
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import models, transforms
from torchvision.datasets import ImageFolder


def run(model, loader, criterion, hook, device, optimizer=None):
    """Pass once over the pictures, training where there is an optimizer; return the mean loss and the accuracy."""
    model.train(optimizer is not None)
    hook.set_mode(smd.modes.TRAIN if optimizer else smd.modes.EVAL)
    loss_sum, right, count = 0.0, 0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for pictures, labels in loader:
            pictures, labels = pictures.to(device), labels.to(device)
            output = model(pictures)
            loss = criterion(output, labels)
            if optimizer:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss_sum += loss.item() * len(labels)
            right += (output.argmax(1) == labels).sum().item()
            count += len(labels)
    return loss_sum / count, right / count


def main(args):
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = (args.image_size, args.image_size)
    pictures = ImageFolder(args.data, transforms.Compose([transforms.Resize(side), transforms.ToTensor()]))
    held = max(1, len(pictures) // 5)
    training, validation = random_split(pictures, [len(pictures) - held, held])
    model = models.resnet18(num_classes=len(pictures.classes)).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    hook = smd.Hook.create_from_json_file()
    hook.register_hook(model)
    hook.register_loss(criterion)
    loaders = [DataLoader(part, args.batch_size, shuffle=part is training) for part in (training, validation)]

    best, waited = float("inf"), 0
    for epoch in range(1, args.epochs + 1):
        train_loss, _ = run(model, loaders[0], criterion, hook, device, optimizer)
        loss, accuracy = run(model, loaders[1], criterion, hook, device)
        print(
            f"epoch {epoch}: train_loss={train_loss:.4f} validation_loss={loss:.4f} validation_accuracy={accuracy:.4f}"
        )
        waited = 0 if loss < best else waited + 1
        if not waited:
            best = loss
            content = {"labels": pictures.classes, "image_size": args.image_size, "state_dict": model.state_dict()}
            torch.save(content, args.model_dir / "model.pth")
        if waited == args.patience:
            print(f"stopping: no better validation loss for {waited} epochs")
            break


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=0.001)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--patience", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default=os.environ.get("SM_CHANNEL_TRAINING"))
    parser.add_argument("--model-dir", type=Path, default=os.environ.get("SM_MODEL_DIR"))
    main(parser.parse_args())
