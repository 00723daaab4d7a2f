"""See what a real run of an application uses: from inside its processes, and from outside of them."""
