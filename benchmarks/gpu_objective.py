"""What benchmarks/gpu.py trains: a network on digits, on whatever CUDA device the trial sees."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits

import tuneflow


def train(config: Mapping[str, Any]) -> Iterator[Any]:
    """Report the accuracy after each epoch, where it ran, and what memory the trial holds."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inputs, labels = (part.to(device) for part in _data())
    network = _network(config["width"]).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config["learning_rate"])
    epoch = _restore(network, optimizer, device)
    while True:
        epoch += 1
        for batch in torch.randperm(1200, device=device).split(64):
            loss = torch.nn.functional.cross_entropy(network(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = network(inputs[1200:]).argmax(1) == labels[1200:]
        metrics = {"accuracy": right.float().mean().item(), **_place(device)}
        yield metrics, functools.partial(_save, network, optimizer, epoch)


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    return torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)


def _network(width: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, width),
        torch.nn.ReLU(), torch.nn.Linear(width, 10),
    )  # fmt: skip


def _place(device: torch.device) -> dict[str, float]:
    """Return where a trial runs, as metrics."""
    resources = tuneflow.current_trial().resources
    return {
        "on_gpu": float(device.type == "cuda"),
        "devices": float(torch.cuda.device_count()),
        "share": float(resources.get("gpu", 0.0)),
        "visible": float(len(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(","))),
    }


def _restore(network: torch.nn.Module, optimizer: Any, device: torch.device) -> int:
    saved = tuneflow.checkpoint()
    if saved is None:
        return 0
    state = torch.load(saved / "state.pt", map_location=device, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def _save(network: torch.nn.Module, optimizer: Any, epoch: int, folder: Path) -> None:
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
    torch.save(state, folder / "state.pt")
