"""How large the network of a cell is: its learned numbers, and the multiply-adds of one image."""

from raynas import genotype_from_text
from raynas.nets.size import size_of

cell = genotype_from_text(
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)
for channels in (8, 16, 32):
    size = size_of(cell, shape=(3, 32, 32), classes=10, channels=channels, cells=5)
    print(f"{channels:>2} channels: {size.parameters:>9,} parameters, {size.multiply_adds:,} multiply-adds")
