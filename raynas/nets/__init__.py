"""Networks of cells: the supernet with all operations at once, and the network of the chosen ones.

Shapes are written in brackets, the outermost dimension first; ``a·b`` is one dimension that holds a times b
entries, ordered (a, b). Their letters and words here, and wherever a tensor is passed on:

    L, lanes        searches side by side; 1 for a search alone
    N               images of a batch, or streams of a text
    C, channels     channels of one edge in one lane, unless it says of what
    H, W            height and width of a map; H', W' after the stride, rounded up
    T               tokens of a text that a step reads; in a fan, ``targets``: the later nodes it sends to
    E, edges, rows  edges of a cell, or whatever else has a row of α
    O, operations,  what a row of α chooses among, padded to the longest row
       options
    pairs           (lane, edge) pairs that a path computes; lanes·edges where it computes all
    groups          maps side by side that are read: one for each lane, or for each pair
    k               side of a kernel
    numbers         α, or the parameters, of one lane in a flat row

So a feature map is [N, lanes·channels, H, W], in channels-last memory; α's weights are [lanes, rows,
options], kernels [lanes, edges, outputs, inputs, k, k], losses and accuracies [lanes].
"""
