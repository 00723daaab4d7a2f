"""Model files, read and written by header and tensor by tensor, without the libraries that made them."""
