"""The supernets that are measured."""

from dataclasses import dataclass

SPACE = "darts"
CLASSES = 10


@dataclass(frozen=True)
class Size:
    """A supernet of the `darts` space and its batches of square RGB images."""

    name: str
    channels: int
    cells: int
    batch: int
    side: int

    def __str__(self) -> str:
        return (
            f"{self.name} ({self.channels} channels, {self.cells} cells, batch {self.batch}, "
            f"{self.side}×{self.side}, {SPACE} space)"
        )


SIZES = {
    size.name: size
    for size in (Size("micro", 4, 4, 16, 8), Size("tiny", 8, 4, 16, 16), Size("paper16", 16, 8, 16, 32))
}
