"""Streams as training data: random short clips of many videos, decoded as fast as possible.

``NrvDataset`` is a map-style PyTorch dataset, ``NrvClips`` its iterable form; both work under a
plain ``DataLoader``. ``NrvLoader`` makes whole batches on the device where they are used, ahead of
who takes them. After NeRV-Dec (arXiv 2409.19429): what is loaded are the weights of networks.
"""

from __future__ import annotations

from hypernet.loading.batch_loader import NrvLoader
from hypernet.loading.catalogue import StreamPlace, find_streams
from hypernet.loading.dataset import NrvClips, NrvDataset
from hypernet.loading.samples import Batch, Sample
from hypernet.parallel_decoding import Crop

__all__ = [
    "Batch",
    "Crop",
    "NrvClips",
    "NrvDataset",
    "NrvLoader",
    "Sample",
    "StreamPlace",
    "find_streams",
]
