"""A cell as text: read from other people's forms, written, kept as JSON, compared as a network."""

from raynas import genotype_from_text, genotype_to_text, same_network
from raynas.spaces.reading import genotype_from_json

text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
cell = genotype_from_text(text)
print(cell.space, *(choice.op for choice in cell.cell("normal")))
print("written as it was read:", genotype_to_text(cell) == text)
print("through JSON:", genotype_from_json(cell.to_json()) == cell)

shorter = genotype_from_text("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|")
print("equal:", shorter == cell)
print("the same network, as a skip hands on what it reads:", same_network(shorter, cell))
