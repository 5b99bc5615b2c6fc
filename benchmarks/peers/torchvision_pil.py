"""torchvision as its reference scripts use it with the PIL backend: ImageFolder, Pillow, classic crops on PIL images.

RandomResizedCrop cuts before it resizes, bilinear and antialiased; the pixels become a uint8 tensor at the end
(PILToTensor), which spares the workers the conversion to float. Else as benchmarks.peers.image_folder.
"""

from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from benchmarks.peers.base import Task
from benchmarks.peers.image_folder import FolderSide


def open_side(task: Task) -> FolderSide:
    """torchvision with Pillow on the task's files."""
    return FolderSide(
        task,
        read=default_loader,
        random_crop=lambda side: v2.Compose(
            [v2.RandomResizedCrop(side, scale=task.scale), v2.RandomHorizontalFlip(), v2.PILToTensor()]
        ),
        # All of the short side: it is cut to the square before anything else would be resized for nothing.
        centre_crop=lambda side: v2.Compose([v2.Resize(side), v2.CenterCrop(side), v2.PILToTensor()]),
        how="PIL, v2.RandomResizedCrop bilinear with antialiasing, v2.RandomHorizontalFlip",
    )
