"""Texts of cells as public repositories have them: what they say, as facts, with where they stand.

Of 336 distinct ones in the genotype modules of 26 repositories, 237 are read. These stand for all ways in
which they are written, and for all reasons why one is not.
"""

AVG, MAX, SKIP, NONE = "avg_pool_3x3", "max_pool_3x3", "skip_connect", "none"
S3, S5, S7, D3, D5 = "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5"
CONCAT = "range(2, 6)"


def genotype(normal, reduce, normal_concat=CONCAT, reduce_concat=CONCAT, more=""):
    """A call with these fields, on one line."""
    return (
        f"Genotype(normal={normal}, normal_concat={normal_concat}, reduce={reduce}, "
        f"reduce_concat={reduce_concat}{more})"
    )


# quark0/darts f276dd3, cnn/genotypes.py
NASNET = genotype(
    [(S5, 1), (S3, 0), (S5, 0), (S3, 0), (AVG, 1), (SKIP, 0), (AVG, 0), (AVG, 0), (S3, 1), (SKIP, 1)],
    [(S5, 1), (S7, 0), (MAX, 1), (S7, 0), (AVG, 1), (S5, 0), (SKIP, 3), (AVG, 2), (S3, 2), (MAX, 1)],
    [2, 3, 4, 5, 6],
    [4, 5, 6],
)
AMOEBANET = genotype(
    [(AVG, 0), (MAX, 1), (S3, 0), (S5, 2), (S3, 0), (AVG, 3), (S3, 1), (SKIP, 1), (SKIP, 0), (AVG, 1)],
    [
        (AVG, 0),
        (S3, 1),
        (MAX, 0),
        (S7, 2),
        (S7, 0),
        (AVG, 1),
        (MAX, 0),
        (MAX, 1),
        ("conv_7x1_1x7", 0),
        (S3, 5),
    ],
    [4, 5, 6],
    [3, 4, 6],
)
DARTS_V2 = genotype(
    [(S3, 0), (S3, 1), (S3, 0), (S3, 1), (S3, 1), (SKIP, 0), (SKIP, 0), (D3, 2)],
    [(MAX, 0), (MAX, 1), (SKIP, 2), (MAX, 1), (MAX, 0), (SKIP, 2), (SKIP, 2), (MAX, 1)],
    [2, 3, 4, 5],
    [2, 3, 4, 5],
)
# xiaomi-automl/FairDARTS 270cfc9, fairdarts/genotypes.py: (operation, node, state)
FAIR_A = genotype(
    [(S3, 2, 0), (S5, 2, 1), (MAX, 4, 0), (S3, 5, 0)],
    [(MAX, 2, 0), (AVG, 2, 1), (AVG, 3, 0), (D5, 3, 1), (AVG, 4, 0), (S5, 4, 1), (SKIP, 5, 0), (SKIP, 5, 1)],
)
FAIR_B = genotype(
    [(S3, 2, 0), (S3, 2, 1), (S3, 3, 1), (D3, 4, 0), (S5, 4, 1), (D5, 5, 1)],
    [(SKIP, 2, 0), (D3, 2, 1), (SKIP, 3, 0), (D3, 3, 1), (MAX, 4, 0), (S3, 4, 1), (SKIP, 5, 2), (MAX, 5, 0)],
)
# the same, darts/genotypes.py: (operation, state, weight)
WEIGHTED = genotype(
    [(SKIP, 0, 0.9), (S3, 1, 0.1)], [(AVG, 0, 0.1), (SKIP, 1, 0.9)], "range(2, 3)", "range(2, 3)"
)
# SNAS-Series/SNAS-Series 9a43adb, SNAS/genotypes.py: every edge, node by node
# fmt: off
EDGE_ALL = genotype(
    [(S3, 0), (S3, 1), (SKIP, 0), (D3, 1), (NONE, 2), (SKIP, 0), (SKIP, 1), (NONE, 3), (NONE, 2), (SKIP, 0),
      (S3, 1), (NONE, 4), (NONE, 3), (NONE, 2)],
    [(MAX, 0), (MAX, 1), (NONE, 0), (MAX, 1), (SKIP, 2), (NONE, 0), (MAX, 1), (SKIP, 2), (NONE, 3), (MAX, 0),
      (D5, 2), (NONE, 1), (NONE, 3), (NONE, 4)],
)
# fmt: on
# D-X-Y/AutoDL-Projects f46486e, xautodl/nas_infer_model/DXYs/genotypes.py: grouped by nodes, empty fields
GDAS_V1 = genotype(
    [((SKIP, 0), (SKIP, 1)), ((SKIP, 0), (S5, 2)), ((S3, 3), (SKIP, 0)), ((S5, 4), (S3, 3))],
    [((S5, 0), (S3, 1)), ((S5, 2), (S5, 1)), ((D5, 2), (S3, 1)), ((S5, 0), (S5, 1))],
    more=", connectN=None, connects=None",
)
# the same, xautodl/models/cell_searchs/genotypes.py: NAS-Bench-201's ResNet
RESNET = (
    'Structure([(("nor_conv_3x3", 0),), (("nor_conv_3x3", 1),), (("skip_connect", 0), ("skip_connect", 2))])'
)
# EMI-Group/RelativeNAS 454610f, genotypes.py
RELATIVE = genotype(
    [(S3, 0), (D5, 1), (S3, 1), (S3, 1), (S3, 1), (S5, 1), (SKIP, 0), (S3, 0)],
    [(AVG, 1), (MAX, 1), (D5, 1), (MAX, 1), (AVG, 3), (SKIP, 1), (D5, 3), (S3, 1)],
)
# lightaime/sgas 9cfff65, gcn/gcn_graph/genotypes.py: a network of graphs
GRAPHS = "Genotype(normal=[('edge_conv', 0), ('mr_conv', 1)], normal_concat=range(1, 3))"
# ahundt/sharpDARTS 6f593d4, cnn/genotypes.py and rnn/genotypes.py
SHARP = genotype([("choke_conv_3x3", 0), (SKIP, 1)], [(MAX, 0), (SKIP, 1)], "[2]", "[2]", ", layout='cell'")
WEIGHTS = genotype([[0.1108, 0.0556]], [[0.3534, 0.0249]], "[]", "[]", ", layout='raw_weights'")
ENAS_RNN = (
    "Genotype(recurrent=[('tanh', 0), ('tanh', 1), ('relu', 1), ('tanh', 3), ('tanh', 3), ('relu', 3), "
    "('relu', 4), ('relu', 7), ('relu', 8), ('relu', 8), ('relu', 8)], concat=[2, 5, 6, 9, 10, 11])"
)

# xujinfan/NASP-codes 3bfb706, codes/genotypes.py: other names
NASP = genotype(
    [
        ("conv_3x1_1x3", 0),
        ("conv 3x3", 1),
        (D3, 2),
        ("conv 3x3", 1),
        (D3, 2),
        ("conv 3x3", 0),
        (SKIP, 0),
        (D3, 3),
    ],
    [(MAX, 0), (MAX, 1), (SKIP, 2), ("max_pool_5x5", 1), (SKIP, 2), (SKIP, 3), (SKIP, 0), (SKIP, 1)],
)

READ = {
    "DARTS_V2": DARTS_V2,
    "FairDARTS_a": FAIR_A,
    "FairDARTS_b": FAIR_B,
    "edge_all": EDGE_ALL,
    "GDAS_V1": GDAS_V1,
    "ResNet": RESNET,
    "NASNet": NASNET,
    "AmoebaNet": AMOEBANET,
    "RelativeNAS": RELATIVE,
    "NASP": NASP,
    "ENAS' recurrent": ENAS_RNN,
}
REFUSED = {
    "weighted": (WEIGHTED, "an edge with a weight of its own, 0.9"),
    "graphs": (GRAPHS, "unknown operation 'edge_conv'"),
    "sharp": (SHARP, "unknown operation 'choke_conv_3x3'"),
    "raw weights": (WEIGHTS, "layout is not 'cell'"),
}
