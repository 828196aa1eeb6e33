"""What authors run: build the notebooks, check them."""
