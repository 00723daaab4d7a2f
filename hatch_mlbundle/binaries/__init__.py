"""Native libraries and executables: their headers, and what can be left out of them."""
