# cython: language_level=3, boundscheck=False, wraparound=False
"""The inner loop: the position of the vector that points most nearly in a direction."""


def best(const float[::1] vectors, const float[::1] wanted):
    """Return which row of `vectors`, as long as `wanted` each, has the largest product with it; the first of equals."""
    cdef Py_ssize_t width = wanted.shape[0], row, column, found = -1
    cdef double product, largest = 0
    for row in range(vectors.shape[0] // width):
        product = 0
        for column in range(width):
            product += <double>vectors[row * width + column] * wanted[column]
        if found < 0 or product > largest:
            found, largest = row, product
    return found
