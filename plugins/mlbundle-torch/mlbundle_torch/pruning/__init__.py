"""Pruning by magnitude: single weights, which are then stored sparsely, or whole neurons, which leave the network. In numpy, by streaming.

Source: Han et al., "Learning both Weights and Connections for Efficient Neural Networks" (2015), for single weights; Li et al., "Pruning
Filters for Efficient ConvNets" (2017), for whole ones. Neither is followed by training here, which both rely on.
"""
