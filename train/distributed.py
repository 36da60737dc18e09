"""Train in several processes at once: one a GPU, or one a host, joined by torch.distributed (nccl and gloo).

Each process, a replica, works on its share of every batch; `DistributedDataParallel` averages the gradients. All take
every decision together (stop, best epoch), because each decides on figures that were summed over all.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

PORT = 29500

#: How long replicas wait for one another: the longest that one may be behind, with its start and its share of the data.
TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Group:
    """The replicas of one run; the one of rank 0 reports and writes. Alone, every method costs and changes nothing."""

    rank: int = 0
    size: int = 1

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of each of `values` over all replicas."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Return whether any replica has `flag` set."""
        return self.sum([float(flag)])[0] > 0

    def share(self, value: Any) -> Any:
        """Return rank 0's `value` (plain data and tensors on the CPU)."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def everyone(self, value: Any) -> list[Any]:
        """Return every replica's `value` (plain data), by rank."""
        if self.size == 1:
            return [value]
        held: list[Any] = [None] * self.size
        dist.all_gather_object(held, value)
        return held

    def gather(self, rows: Tensor, positions: Tensor, total: int) -> Tensor:
        """Return all `total` rows in order; this replica has `rows`, which belong at `positions` (int64)."""
        if self.size == 1:
            return rows
        # Shares differ in length by a few: they are padded with rows that belong behind the last, and cut off there.
        length = max(self.everyone(len(rows)))
        padded = rows.new_zeros((length, *rows.shape[1:]))
        places = positions.new_full((length,), total)
        padded[: len(rows)], places[: len(rows)] = rows, positions
        all_rows = [torch.empty_like(padded) for _ in range(self.size)]
        all_places = [torch.empty_like(places) for _ in range(self.size)]
        dist.all_gather(all_rows, padded)
        dist.all_gather(all_places, places)
        gathered = rows.new_zeros((total + 1, *rows.shape[1:]))
        gathered[torch.cat(all_places)] = torch.cat(all_rows)
        return gathered[:total]

    def replicate(self, network: nn.Module) -> nn.Module:
        """Return `network` so wrapped that a backward pass averages its gradients over all replicas."""
        return network if self.size == 1 else DistributedDataParallel(network)

    def align(self, network: nn.Module) -> None:
        """Give `network` rank 0's buffers: each replica's batch normalisation has seen other pictures."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)

    def leave(self) -> None:
        """End the connections, whose threads would otherwise abort the process when it exits."""
        if self.size > 1:
            dist.destroy_process_group()


ALONE = Group()


def join(master: str, rank: int, size: int, interface: str | None = None) -> Group:
    """Return the group of `size` replicas that meet at host `master`, this one having `rank`."""
    if size == 1:
        return ALONE
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    # What is on the CPU is exchanged there: no GPU has to finish its work for it.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, f"tcp://{master}:{PORT}", TIMEOUT, size, rank)
    return Group(rank, size)
