"""The mix of hostile requests: kinds of them, each a small generator, and which of them comes at which place.

Everything follows from the seed: request `number` of a mix is the same bytes on every machine with the same Pillow.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

from bench.attack import bodies, fields, framing, media, tensors, wire
from bench.attack.request import Request

Generator = Callable[[random.Random], Request]

#: Kinds that cost the server no more than a good picture; those of several megabytes; those made to cost it seconds.
USUAL: Mapping[str, Generator] = fields.USUAL | bodies.USUAL | tensors.USUAL | media.USUAL | wire.USUAL | framing.USUAL
LARGE: Mapping[str, Generator] = fields.LARGE | bodies.LARGE | tensors.LARGE | media.LARGE | wire.LARGE
HEAVY: Mapping[str, Generator] = media.HEAVY

#: Shares of the mix that are large, and heavy. Within its class each kind is as likely as any other.
LARGE_SHARE, HEAVY_SHARE = 0.01, 0.005

KINDS = dict(chain(USUAL.items(), LARGE.items(), HEAVY.items()))


@dataclass(frozen=True)
class Mix:
    """A sequence of hostile requests without end."""

    seed: int

    def request(self, number: int) -> tuple[str, Request]:
        """Return the kind and the bytes of the request at the place `number`."""
        generator = random.Random(f"{self.seed} {number}")
        drawn = generator.random()
        if drawn < HEAVY_SHARE:
            kinds = HEAVY
        elif drawn < HEAVY_SHARE + LARGE_SHARE:
            kinds = LARGE
        else:
            kinds = USUAL
        kind = generator.choice(list(kinds))
        return kind, kinds[kind](generator)
