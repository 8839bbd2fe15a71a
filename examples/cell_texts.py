"""A cell as text: read from other people's forms, written, kept as JSON, compared as a network."""

from raynas import Genotype

text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
cell = Genotype.from_text(text)
print(cell.space, *(choice.op for choice in cell.cell("normal")))
print("written as it was read:", cell.to_text() == text)
print("through JSON:", Genotype.from_json(cell.to_json()) == cell)

shorter = Genotype.from_text("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|")
print("equal:", shorter == cell)
print("the same network, as a skip hands on what it reads:", shorter.same_network(cell))
